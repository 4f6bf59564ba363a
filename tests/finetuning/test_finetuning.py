import json
from unittest import mock

import keras
import numpy as np
import pytest

from keras_ssl import callbacks, data, encoders, evaluation, finetune, finetuning
from keras_ssl.finetuning import comparison as comparison_file
from keras_ssl.finetuning.training import _batches, _train_last, default_augmentation
from tests.conftest import lora_encoder, tiny_encoder

CROPS = default_augmentation(flip=False)
FLIPS = data.RandomFlip()  # quick to trace
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def splits():
    train, test = data.load("digits")
    return data.Splits(train.spread(200), test.spread(100))


def _compare(splits, folder, **kwargs):
    keras.utils.set_random_seed(3)
    arguments = dict(labels=[0.1], seeds=1, steps=2, augmentation=FLIPS, **kwargs)
    return finetuning.compare(tiny_encoder(), *splits, folder, **arguments)


class TestSubsets:
    LABELS = np.random.RandomState(0).choice(4, 500, p=[0.6, 0.3, 0.09, 0.01])

    def test_every_class_has_its_fraction_and_at_least_one(self):
        counts = np.bincount(self.LABELS)
        chosen = finetuning.label_subset(self.LABELS, 0.1)
        expected = np.maximum(1, np.floor(0.1 * counts + 0.5))
        np.testing.assert_array_equal(np.bincount(self.LABELS[chosen]), expected)
        assert len(np.unique(chosen)) == len(chosen)

    def test_smaller_fractions_are_parts_of_larger_ones(self):
        for seed in range(3):
            parts = [
                set(finetuning.label_subset(self.LABELS, fraction, seed).tolist())
                for fraction in (0.001, 0.01, 0.1, 0.5, 1.0)
            ]
            assert all(a <= b for a, b in zip(parts, parts[1:], strict=False))
            assert len(parts[-1]) == 500

    def test_seeds_choose_other_images_and_the_same_ones_again(self):
        a, b = (finetuning.label_subset(self.LABELS, 0.1, seed) for seed in (0, 1))
        assert len(a) == len(b) and len(np.intersect1d(a, b)) < len(a) / 2
        np.testing.assert_array_equal(a, finetuning.label_subset(self.LABELS, 0.1, 0))

    @pytest.mark.parametrize("labels", [[], [[1]], [-1, 0], [0.5, 1.0], ["a"]], ids=repr)
    def test_bad_labels(self, labels):
        with pytest.raises(ValueError, match="`labels` must be whole numbers"):
            finetuning.label_subset(labels, 0.5)

    @pytest.mark.parametrize("fraction", [0, -0.1, 1.1, True, "1", None, float("nan")])
    def test_bad_fractions(self, fraction):
        with pytest.raises(ValueError, match="`fraction` must be fractions of the labels"):
            finetuning.label_subset([0, 1], fraction)


class TestBatches:
    def test_a_pass_holds_every_image_once_and_batches_cross_its_end(self):
        pixels = np.arange(5, dtype="uint8").reshape(5, 1, 1, 1) * 20
        images = data.from_arrays(np.broadcast_to(pixels, (5, 4, 4, 1)), np.arange(5))
        batches = [labels.numpy() for _, labels in _batches(images, FLIPS, 2, 5, seed=0)]
        assert [len(labels) for labels in batches] == [2] * 5
        seen = np.concatenate(batches)
        assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]

    @pytest.mark.long
    def test_draws_and_orders_follow_from_the_seed(self, splits):
        def pixels(seed):
            return np.stack([x.numpy() for x, _ in _batches(splits.train, CROPS, 8, 2, seed)])

        np.testing.assert_array_equal(pixels(1), pixels(1))
        assert np.abs(pixels(1) - pixels(2)).max() > 0.5


class TestTraining:
    def _fitted(self, splits, **kwargs):
        keras.utils.set_random_seed(0)
        classifier = finetuning.build_classifier(tiny_encoder(), splits.train.class_names)
        before = [np.array(w) for w in classifier.get_weights()]
        arguments = dict(steps=3, augmentation=FLIPS, learning_rate=0.01, **kwargs)
        finetuning.fit_classifier(classifier, splits.train, **arguments)
        return classifier, before

    def test_the_encoder_is_copied(self, splits):
        encoder = tiny_encoder()
        before = encoder.get_weights()
        classifier = finetuning.build_classifier(encoder, splits.train.class_names)
        finetuning.fit_classifier(classifier, splits.train, steps=2, augmentation=FLIPS)
        for a, b in zip(before, encoder.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_a_lora_is_merged(self, splits):
        """The classifier has the same features and one matrix a layer, all of which is trained."""
        adapted, sums = lora_encoder()
        images, _ = next(iter(splits.test.batches(20)))
        classifier = finetuning.build_classifier(adapted, splits.train.class_names)
        *_, head, _ = classifier.layers
        features = keras.Model(classifier.inputs, head.input).predict(images, verbose=0)
        np.testing.assert_allclose(features, adapted.predict(images, verbose=0), rtol=0, atol=1e-5)
        kernels = {v.path.split("/")[-2]: v for v in classifier.weights if "kernel" in v.path}
        assert set(kernels) == {*sums, "head"} and len(classifier.trainable_weights) == 8
        before = {name: np.array(kernels[name]) for name in sums}
        for name, kernel in before.items():
            np.testing.assert_allclose(kernel, sums[name], rtol=1e-5, atol=1e-6)
        finetuning.fit_classifier(classifier, splits.train, steps=2, augmentation=FLIPS)
        assert all(np.any(kernels[name] != before[name]) for name in sums)

    @pytest.mark.long
    def test_scratch_has_no_lora_either(self, splits, tmp_path, monkeypatch):
        built, build = [], comparison_file.build_classifier
        monkeypatch.setattr(
            comparison_file, "build_classifier", lambda *args: built.append(args[0]) or build(*args)
        )
        finetuning.compare(
            lora_encoder()[0], *splits, tmp_path, labels=[0.1], seeds=1, steps=2, augmentation=FLIPS
        )
        assert len(built) == 2 and not any("lora" in v.path for e in built for v in e.weights)

    @pytest.mark.parametrize(
        ("train", "changed"),
        # Kernel and bias; scale, offset, mean and variance; kernel and bias of the head.
        [("head", "000000 11"), ("last", "001111 11"), ("all", "111111 11")],
    )
    def test_what_is_trained(self, splits, train, changed, monkeypatch):
        monkeypatch.setitem(finetuning.PARTS, "last", 1 / 2)  # of two layers
        classifier, before = self._fitted(splits, train=train)
        after = classifier.get_weights()
        differs = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
        # A bias before batch normalization has no gradient but rounding's.
        expected = [c == "1" for c in changed.replace(" ", "")]
        assert differs[:1] + differs[2:] == expected[:1] + expected[2:]

    def test_the_last_third_of_a_residual_network_is_its_last_stage(self):
        body = encoders.resnet8((8, 8, 1), width=4)
        _train_last(body, finetuning.PARTS["last"])
        shapes = [tuple(v.shape) for v in body.trainable_variables if v.ndim == 4]
        assert sorted(shapes) == [(1, 1, 8, 16), (3, 3, 8, 16), (3, 3, 16, 16)]

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("name", "part", "count", "first"),
        [
            ("resnet18", "last", 34, "block_6_1_norm/gamma"),
            ("vit_tiny", "last", 66, "block_9_norm_1/gamma"),
            ("vit_tiny", "all", 196, "patch_and_position_embedding/kernel"),
            ("vit_tiny", "head", 0, None),
        ],
    )
    def test_the_last_third_begins_here(self, name, part, count, first):
        body = encoders.build_encoder(name, (32, 32, 3))
        _train_last(body, finetuning.PARTS[part])
        layers = [part.layer for part in encoders.find_blocks(body).parts]
        paths = [v.path for layer in layers if layer.trainable for v in layer.weights]
        assert len(paths) == count and paths[:1] == ([] if first is None else [first])
        assert {v.path for v in body.trainable_variables} <= set(paths)

    def test_the_last_third_of_one_layer_is_nothing(self, splits, tmp_path):
        encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 8)])
        encoder.add(keras.layers.Flatten())
        with pytest.raises(ValueError, match="`train` must be 'head' or 'all' for an encoder that"):
            finetuning.compare(encoder, *splits, tmp_path / "new", part="last")
        assert not (tmp_path / "new").exists()

    def test_half_precision_scales_the_loss(self, splits, monkeypatch):
        """Keras would not: the layers are of mixed_float16, and the classifier is not."""
        wrapped, wrap = [], keras.optimizers.LossScaleOptimizer
        monkeypatch.setattr(
            keras.optimizers, "LossScaleOptimizer", lambda o: wrapped.append(o) or wrap(o)
        )
        for dtype, count in (("float32", 0), ("mixed_float16", 1)):
            encoder = keras.Sequential([keras.Input((8, 8, 1))])
            encoder.add(keras.layers.Conv2D(4, 3, dtype=dtype))
            encoder.add(keras.layers.GlobalAveragePooling2D())
            classifier = finetuning.build_classifier(encoder, splits.train.class_names)
            before = np.array(classifier.weights[0])
            finetuning.fit_classifier(classifier, splits.train, steps=3, augmentation=FLIPS)
            assert len(wrapped) == count and np.any(before != classifier.weights[0])

    def test_kernels_alone_decay(self, splits):
        encoder = encoders.vit((8, 8, 1), width=8, blocks=1, heads=2, patch_size=4)
        classifier = finetuning.build_classifier(encoder, splits.train.class_names)
        excluded = []
        exclude = keras.optimizers.AdamW.exclude_from_weight_decay
        with mock.patch.object(
            keras.optimizers.AdamW,
            "exclude_from_weight_decay",
            lambda self, some: excluded.extend(v.path for v in some) or exclude(self, some),
        ):
            finetuning.fit_classifier(classifier, splits.train, steps=1, augmentation=FLIPS)
        paths = [v.path for v in classifier.trainable_weights]
        assert set(paths) - set(excluded) == {path for path in paths if path.endswith("kernel")}
        assert any("query/bias" in path for path in excluded)

    def test_a_training_that_diverges_is_no_accuracy(self, splits):
        classifier = finetuning.build_classifier(tiny_encoder(), splits.train.class_names)
        arguments = dict(steps=4, augmentation=FLIPS, learning_rate=1e38)
        with pytest.raises(callbacks.NonFiniteLossError, match="Not finite"):
            finetuning.fit_classifier(classifier, splits.train, **arguments)
        classifier.layers[-2].bias.assign(np.full(10, np.nan))
        with pytest.raises(ValueError, match="`classifier` must give finite probabilities"):
            finetuning.accuracy(classifier, splits.test)

    def test_layers_inside_a_layer_count(self, splits):
        """A network of KerasHub may be one layer that holds all of its blocks."""

        class Blocks(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.blocks = [keras.layers.Dense(4, name=f"block_{i}") for i in range(3)]

            def call(self, x):
                for block in self.blocks:
                    x = block(x)
                return x

        images = keras.layers.Input((8, 8, 1))
        body = keras.Model(images, Blocks()(keras.layers.Flatten()(images)))
        _train_last(body, finetuning.PARTS["last"])
        assert [v.path.split("/")[-2] for v in body.trainable_variables] == ["block_2"] * 2
        assert len(body.non_trainable_variables) == 4

    @pytest.mark.long
    def test_no_step_of_a_head_leaves_the_probe(self, splits):
        """With a rate of nearly zero, the classifier is the logistic regression of the features."""
        encoder = tiny_encoder()
        classifier = finetuning.build_classifier(encoder, splits.train.class_names)
        finetuning.fit_classifier(
            classifier, splits.train, "head", learning_rate=1e-12, steps=1, augmentation=FLIPS
        )
        features = [evaluation.extract(encoder, part) for part in splits]
        assert finetuning.accuracy(classifier, splits.test) == pytest.approx(
            evaluation.linear_accuracy(*features), abs=0.011
        )

    @pytest.mark.long
    @pytest.mark.parametrize("classes", [[0], [2], [0, 1], [0, 1, 2]], ids=str)
    def test_classes_without_images(self, splits, classes):
        train = splits.train.subset(np.flatnonzero(np.isin(splits.train.labels(), classes)))
        classifier = finetuning.build_classifier(tiny_encoder(), splits.train.class_names)
        finetuning.fit_classifier(
            classifier, train, "head", learning_rate=1e-12, steps=1, augmentation=FLIPS
        )
        predicted = classifier.predict(next(iter(train.batches(256)))[0], verbose=0).argmax(axis=1)
        assert set(predicted) <= set(classes)

    def test_bad_arguments(self, splits):
        classifier = finetuning.build_classifier(tiny_encoder(), splits.train.class_names)
        with pytest.raises(ValueError, match="`images` must have labels"):
            finetuning.fit_classifier(classifier, splits.train.without_labels())
        with pytest.raises(ValueError, match="`train` must be one of"):
            finetuning.fit_classifier(classifier, splits.train, train="half")
        with pytest.raises(TypeError, match="`augmentation` must be"):
            finetuning.fit_classifier(classifier, splits.train, augmentation=data.weak())
        with pytest.raises(ValueError, match="`class_names` must be"):
            finetuning.build_classifier(tiny_encoder(), ["one"])
        with pytest.raises(ValueError, match="`encoder` must know the shape"):
            finetuning.build_classifier(keras.Sequential([keras.layers.Flatten()]), ["a", "b"])


class TestComparison:
    ROWS = {
        f"{arm} {fraction} {seed}": {
            "arm": arm,
            "fraction": fraction,
            "images": 20,
            "seed": seed,
            "accuracy": accuracy + 0.1 * seed,
        }
        for fraction, seeds in ((0.1, 3), (1.0, 1))
        for seed in range(seeds)
        for arm, accuracy in (("from scratch", 0.3), ("fine-tuned", 0.4 + 0.01 * seed))
    }

    def test_differences_are_paired(self):
        comparison = comparison_file.Comparison(self.ROWS, "classifier.keras")
        assert comparison.differences(0.1) == pytest.approx([0.10, 0.11, 0.12])
        first, last = comparison.table.splitlines()[2:]
        # The accuracies have an error of 0.1 / sqrt(3), the differences one of 0.01 / sqrt(3).
        assert [cell.strip() for cell in first.split("|")[1:-1]] == [
            *("10 % of labels", "20", "3", "-", "-"),
            *("40.0 ± 5.8", "51.0 ± 6.4", "+11.0 ± 0.6"),
        ]
        assert [cell.strip() for cell in last.split("|")[-4:-1]] == ["30.0", "40.0", "+10.0"]

    @pytest.mark.long
    def test_it_is_repeated_exactly_and_goes_on(self, splits, tmp_path, monkeypatch):
        whole = _compare(splits, tmp_path / "whole")
        assert len(whole.rows) == 3

        fit, fits = comparison_file.fit_classifier, []

        def stopped(*args, **kwargs):
            fits.append(1)
            if len(fits) == 2:
                raise KeyboardInterrupt
            fit(*args, **kwargs)

        monkeypatch.setattr(comparison_file, "fit_classifier", stopped)
        with pytest.raises(KeyboardInterrupt):
            _compare(splits, tmp_path / "parts")
        again = _compare(splits, tmp_path / "parts")
        assert len(fits) == 3  # two rows, one of them begun twice
        assert again.rows == whole.rows and again.table == whole.table
        # What is there is not computed again, unless its classifier was lost.
        _compare(splits, tmp_path / "parts")
        assert len(fits) == 3
        again.classifier.unlink()
        assert _compare(splits, tmp_path / "parts").rows == whole.rows and again.classifier.exists()
        assert len(fits) == 4

        # Where a class of the library stands is no setting.
        file = tmp_path / "parts" / "few_labels.json"
        content = json.loads(file.read_text())
        content["settings"]["augmentation"] |= {"module": "keras_ssl.data.elsewhere"}
        file.write_text(json.dumps(content))
        assert _compare(splits, tmp_path / "parts").rows == whole.rows and len(fits) == 4

        with pytest.raises(ValueError, match="of the same settings.*the batch size was 64 and now"):
            _compare(splits, tmp_path / "parts", batch_size=16)

    def test_the_classifier_of_the_most_labels_stays(self, splits, tmp_path):
        kept, encoder = [], tiny_encoder()
        for fraction in (0.5, 0.1, 1.0):
            arguments = dict(seeds=1, steps=2, augmentation=FLIPS, baselines=False)
            finetuning.compare(encoder, *splits, tmp_path, labels=[fraction], **arguments)
            kept.append(json.loads((tmp_path / "classifier.json").read_text())["row"])
        assert [name.partition(" %")[0] for name in kept] == ["50", "50", "100"]

    def test_an_encoder_of_the_same_weights_is_another_one(self, splits, tmp_path):
        network = tiny_encoder()
        arguments = dict(labels=[0.1], seeds=1, steps=2, augmentation=FLIPS, baselines=False)
        bytes_, floats = (encoders.as_encoder(network, input_range=(0, m)) for m in (255, 1))
        finetuning.compare(bytes_, *splits, tmp_path, **arguments)
        with pytest.raises(ValueError, match="checksum of the encoder's layers, such as its range"):
            finetuning.compare(floats, *splits, tmp_path, **arguments)
        # One that was saved and loaded is the same, and a file of an earlier version says nothing.
        bytes_.save(tmp_path / "bytes.keras")
        again = encoders.load_encoder(tmp_path / "bytes.keras")
        assert len(finetuning.compare(again, *splits, tmp_path, **arguments).rows) == 1
        content = json.loads((tmp_path / "few_labels.json").read_text())
        del content["settings"]["computation"]
        (tmp_path / "few_labels.json").write_text(json.dumps(content))
        assert len(finetuning.compare(again, *splits, tmp_path, **arguments).rows) == 1

    def test_all_labels_are_one_subset(self, splits, tmp_path):
        arguments = dict(labels=[1.0], seeds=2, steps=2, augmentation=FLIPS)
        comparison = finetuning.compare(tiny_encoder(), *splits, tmp_path, **arguments)
        figures = {"frozen": "knn", "from scratch": "accuracy", "fine-tuned": "accuracy"}
        found = {arm: sorted(comparison.figures(arm, name, 1.0)) for arm, name in figures.items()}
        assert found == {"frozen": [0], "from scratch": [0, 1], "fine-tuned": [0, 1]}

    def test_the_classifier_is_a_plain_model(self, splits, tmp_path):
        comparison = _compare(splits, tmp_path, baselines=False)
        assert {row["arm"] for row in comparison.rows.values()} == {"fine-tuned"}
        classifier = keras.models.load_model(comparison.classifier)
        images, labels = next(iter(splits.test.batches(100)))
        probabilities = classifier.predict(images, verbose=0)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        about = json.loads((tmp_path / "classifier.json").read_text())
        assert about["class_names"] == list(splits.test.class_names)
        assert about["image_shape"] == [8, 8, 1]
        right = np.mean(probabilities.argmax(axis=1) == labels.numpy())
        assert about["test_accuracy"] == pytest.approx(right)
        assert (tmp_path / "few_labels.md").read_text().rstrip() == comparison.table

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"labels": []}, "`labels` must be fractions"),
            ({"labels": "1"}, "`labels` must be fractions"),
            ({"labels": [2]}, "`labels` must be fractions"),
            ({"seeds": 0}, "`seeds`"),
            ({"steps": 0}, "`steps`"),
            ({"part": "some"}, "`part` must be one of"),
            ({"learning_rate": 0}, "`learning_rate`"),
        ],
    )
    def test_bad_arguments_write_nothing(self, splits, tmp_path, arguments, message):
        with pytest.raises(ValueError, match=message):
            finetuning.compare(tiny_encoder(), *splits, tmp_path / "new", **arguments)
        assert not (tmp_path / "new").exists()

    def test_other_classes_and_no_labels(self, splits, tmp_path):
        train, test = splits
        with pytest.raises(ValueError, match="`train` must have labels"):
            finetuning.compare(tiny_encoder(), train.without_labels(), test, tmp_path)
        other = data.from_arrays(np.zeros((4, 8, 8, 1)), np.arange(4))
        with pytest.raises(ValueError, match="`test` must have the classes"):
            finetuning.compare(tiny_encoder(), train, other, tmp_path)

    def test_a_damaged_file_and_a_folder_that_is_a_file(self, splits, tmp_path):
        (tmp_path / "few_labels.json").write_text("{")
        with pytest.raises(ValueError, match="is damaged"):
            _compare(splits, tmp_path)
        with pytest.raises(ValueError, match="`folder` must be a folder"):
            _compare(splits, tmp_path / "few_labels.json")


class TestCommand:
    def test_smoke(self, tmp_path, caplog):
        caplog.set_level("INFO", "keras_ssl")
        tiny_encoder().save(tmp_path / "encoder.keras")
        found = finetune(tmp_path, "digits", labels=[1.0], seeds=1, smoke=True)
        assert "200 labeled images of 10 classes" in caplog.text and found.table in caplog.text
        # The real command, which comes next, finds no rows of other settings.
        assert found.classifier == tmp_path / "finetuned-smoke" / "classifier.keras"
        assert found.classifier.is_file()

    def test_bad_arguments_write_nothing(self, tmp_path):
        encoder = tiny_encoder()
        encoder.save(tmp_path / "encoder.keras")
        with pytest.raises(ValueError, match="`encoder` must be a run.* it is not there"):
            finetune(tmp_path / "none.keras", "digits")
        with pytest.raises(ValueError, match="`out` must be given"):
            finetune(encoder, "digits")
        with pytest.raises(ValueError, match="`train` must be one of"):
            finetune(tmp_path, "digits", train="body")
        with pytest.raises(TypeError, match="`smoke` must be True or False"):
            finetune(tmp_path, "digits", smoke=1)
        np.savez(tmp_path / "photos.npz", images=np.zeros((4, 8, 8, 1), "float32"))
        with pytest.raises(ValueError, match="`images` must have labels"):
            finetune(tmp_path, tmp_path / "photos.npz")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder.keras", "photos.npz"]
