"""Encoders that people have: tokens and dictionaries, weights from elsewhere, parts that train."""

import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_ssl import encoders, models, optimizers
from keras_ssl.encoders import by_name, hub
from keras_ssl.encoders.input_range import looks_trained
from keras_ssl.encoders.vits import fitting_patch_size
from keras_ssl.runs import RunFolder
from tests.conftest import lora_encoder, tiny_encoder

SHAPE = (16, 16, 3)


def _photos(count=4, shape=SHAPE):
    return np.random.RandomState(0).uniform(size=(count, *shape)).astype("float32")


def _tokens(tokens=5, width=3, name="tokens"):
    """A network of tokens that one can foretell: token t of an image is t times its mean color."""
    images = keras.Input(SHAPE)
    color = keras.layers.GlobalAveragePooling2D()(images)
    x = keras.layers.RepeatVector(tokens)(color)
    weight = keras.layers.EinsumDense("ntd,tde->nte", (tokens, width), name="weight")
    x = weight(x)
    values = np.arange(tokens)[:, None, None] * np.eye(3)[:, :width]
    weight.set_weights([values])
    return keras.Model(images, x, name=name)


def _values(encoder, images=None):
    return encoder.predict(_photos() if images is None else images, verbose=0)


def _small_vit(**settings):
    return encoders.vit(SHAPE, 16, 2, 2, **settings)


def _small_resnet():
    # With scales of zero, a residual that is frozen but for a LoRA would stay zero.
    return encoders.resnet(SHAPE, (1, 1), 8, zero_init_residual=False)


def _slow(parameters, *fast):
    """Parameters of which only `fast` run in the fast suite."""
    return [p if p in fast else pytest.param(p, marks=pytest.mark.slow) for p in parameters]


class TestTokens:
    @pytest.mark.parametrize(
        ("pooling", "factor"), [(None, 2.0), ("mean", 2.0), ("class", 0.0)], ids=str
    )
    def test_of_any_network_are_averaged_unless_told(self, pooling, factor):
        encoder = encoders.as_encoder(_tokens(), (0, 1), pooling=pooling)
        color = _photos().mean(axis=(1, 2))
        np.testing.assert_allclose(_values(encoder), factor * color, rtol=1e-5, atol=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("pooling", ["mean", "class"])
    def test_a_file_loads_without_this_library(self, pooling, tmp_path):
        encoders.as_encoder(_tokens(), (0, 1), pooling=pooling).save(tmp_path / "encoder.keras")
        program = (
            "import keras, sys; m = keras.models.load_model(sys.argv[1]);"
            "assert m.output_shape == (None, 3) and 'keras_ssl' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", program, tmp_path / "encoder.keras"], check=True)

    @pytest.mark.parametrize(
        ("outputs", "pooling", "expected"),
        [
            (lambda x: {"pooled_output": x[:, 3], "sequence_output": x}, None, 3.0),
            (lambda x: {"pooled_output": x[:, 3], "sequence_output": x}, "mean", 2.0),
            (lambda x: {"sequence_output": x, "intermediate_output": x[:, 0]}, None, 2.0),
            (lambda x: {"features": x}, "class", 0.0),
        ],
        ids=["pooled", "tokens asked for", "tokens", "only one"],
    )
    def test_of_a_dictionary_are_found_by_their_names(self, outputs, pooling, expected):
        tokens = _tokens()
        model = keras.Model(tokens.inputs, outputs(tokens.output))
        encoder = encoders.as_encoder(model, (0, 1), pooling=pooling)
        color = _photos().mean(axis=(1, 2))
        np.testing.assert_allclose(_values(encoder), expected * color, rtol=1e-5, atol=1e-6)

    def test_of_a_pyramid_the_deepest_is_taken(self):
        images = keras.Input(SHAPE)
        deep = keras.layers.AveragePooling2D(4)(images)
        model = keras.Model(images, {"P5": 2 * deep, "P2": images})
        expected = 2 * _photos().mean(axis=(1, 2))
        np.testing.assert_allclose(_values(encoders.as_encoder(model)), expected, rtol=1e-5)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: encoders.as_encoder(_tokens(), pooling="max"), "`pooling` must be one of"),
            (lambda: encoders.as_encoder(tiny_encoder(), pooling="mean"), "`pooling`.*left out"),
            (
                lambda: encoders.as_encoder(
                    keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(2, 3)]),
                    pooling="class",
                ),
                '`pooling` must be "mean".*no class token',
            ),
            (
                lambda: encoders.as_encoder(
                    keras.Sequential([keras.layers.Conv2D(2, 3)]), pooling="mean"
                ),
                "`image_shape` must be given with `pooling`",
            ),
            (
                lambda: encoders.as_encoder(
                    keras.Model((images := keras.Input(SHAPE)), {"a": images, "b": images[:, 0, 0]})
                ),
                r"one output, or a dictionary.*named \['a', 'b'\]",
            ),
        ],
        ids=["unknown", "a vector", "a map", "no shape", "two outputs"],
    )
    def test_bad_calls(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()

    def test_a_range_may_differ_by_channel(self, tmp_path):
        network = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(2, 3)])
        encoder = encoders.as_encoder(network, ([0, -1, -2], [1, 1, 3]))
        scaled = _photos() * np.float32([1, 2, 5]) + np.float32([0, -1, -2])
        expected = _values(network, scaled).mean(axis=(1, 2))
        np.testing.assert_allclose(_values(encoder), expected, rtol=1e-4, atol=1e-5)
        assert "(0, -1, -2 to 1, 1, 3) per channel" in encoders.describe_range(encoder)
        encoder.save(tmp_path / "encoder.keras")
        again = encoders.load_encoder(tmp_path / "encoder.keras")
        np.testing.assert_array_equal(_values(again), _values(encoder))
        with pytest.raises(ValueError, match="`input_range` of 3 channels"):
            gray = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)])
            encoders.as_encoder(gray, ([0, -1, -2], [1, 1, 3]))
        with pytest.raises(ValueError, match="`input_range` must be a pair"):
            encoders.as_encoder(_small_resnet(), ([0, -1], [1, 1, 3]))


class TestOwnNetworks:
    @pytest.mark.parametrize("pooling", _slow(["mean", "class"], "class"))
    @pytest.mark.slow  # Another process imports TensorFlow.
    def test_a_transformer_is_plain_keras(self, pooling, tmp_path):
        network = _small_vit(pooling=pooling)
        assert encoders.as_encoder(network) is network
        network.save(tmp_path / "vit.keras")
        np.save(tmp_path / "images.npy", _photos())
        program = (
            "import keras, numpy, sys; m = keras.models.load_model('vit.keras');"
            "numpy.save('out', m.predict(numpy.load('images.npy'), verbose=0));"
            "assert 'keras_ssl' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), _values(network), rtol=1e-5)

    def test_a_transformer_knows_where_a_patch_is(self):
        images = _photos(1)
        rolled = np.roll(images, 4, axis=1)
        network = _small_vit(patch_size=4)
        assert np.abs(_values(network, images) - _values(network, rolled)).max() > 1e-3
        embedding = network.get_layer("patch_and_position_embedding")
        kernel, bias = embedding.get_weights()
        assert bias.shape == (16, 16) and kernel.shape == (48, 16)
        embedding.set_weights([kernel, np.zeros_like(bias)])  # Without positions, it cannot.
        np.testing.assert_allclose(_values(network, images), _values(network, rolled), atol=1e-4)

    def test_patches_are_pixels_of_one_place(self):
        network = _small_vit(patch_size=4)
        patches = keras.Model(network.input, network.get_layer("patches").output)
        images = _photos(1)
        np.testing.assert_array_equal(_values(patches, images)[0, 5], images[0, 4:8, 4:8].ravel())

    @pytest.mark.slow
    def test_sizes_are_those_of_deit(self):
        network = encoders.vit_tiny((224, 224, 3), pooling="class")
        # DeiT's table 1 has 5 million with a classifier of 1000 classes.
        assert 5.0e6 < network.count_params() + 193 * 1000 < 6.0e6
        assert network.get_layer("patches").output.shape == (None, 196, 768)

    @pytest.mark.parametrize(
        ("side", "patch"),
        [(7, 1), (14, 2), (28, 4), (32, 4), (64, 8), (96, 12), (128, 16), (224, 16)],
    )
    def test_patches_fit_the_images(self, side, patch):
        assert fitting_patch_size(side, side) == patch
        assert fitting_patch_size(side, 2 * side) == patch

    @pytest.mark.slow
    def test_resnet34_has_the_published_size(self):
        network = encoders.load_encoder("resnet34", (224, 224, 3))
        assert network.count_params() == 21_301_696  # torchvision's: 21,797,672, less 513,000 of
        # the classifier, and with 17,024 moving averages, which are no parameters there.

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: encoders.vit((None, None, 3)), "known height and width"),
            (lambda: encoders.vit((16, 16, 3), patch_size=5), "`patch_size` must divide"),
            (lambda: encoders.vit((16, 16, 3), 16, heads=3), "`width` must be a multiple"),
            (lambda: encoders.vit((97, 97, 3)), "at most 2048 patches"),
            (lambda: encoders.vit((16, 16, 3), pooling="max"), "`pooling` must be one of"),
        ],
        ids=["no size", "patch", "heads", "prime", "pooling"],
    )
    def test_bad_calls(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestBlocks:
    def test_our_own(self):
        stem, blocks, tail = encoders.find_blocks(_small_vit())
        assert [part.path for part in stem] == ["patch_and_position_embedding"]
        assert len(blocks) == 2 and [part.path for part in tail] == ["norm"]
        stem, blocks, tail = encoders.find_blocks(encoders.resnet18((32, 32, 3)))
        assert len(stem) == 2 and len(blocks) == 8 and not tail

    def test_every_weight_is_in_one_part(self):
        network = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3))
        found = encoders.find_blocks(network)
        weights = [id(w) for part in found.parts for w in part.layer.weights]
        assert sorted(weights) == sorted(map(id, network.weights)) and len(found.blocks) == 16

    def test_the_first_block_that_keras_names_has_no_number(self):
        layers = [
            keras.Sequential([keras.layers.Dense(2, name="dense")], name=name)
            for name in ("stem", "my_block", "my_block_1", "my_block_2")
        ]
        stem, blocks, tail = encoders.find_blocks(keras.Sequential([keras.Input((2,)), *layers]))
        assert [part.path for part in stem] == ["stem/dense"] and not tail
        assert [block[0].path.split("/")[0] for block in blocks] == [n.name for n in layers[1:]]

    def test_layers_without_such_names_are_blocks_of_their_own(self):
        stem, blocks, tail = encoders.find_blocks(tiny_encoder())
        assert blocks and not stem and not tail
        assert all(any(len(w.shape) > 1 for w in block[0].layer.weights) for block in blocks)


# --- Weights from elsewhere ----------------------------------------------------------------------


class TestWeights:
    @pytest.mark.parametrize("name", _slow(["resnet8", "MobileNetV3Small"], "resnet8"))
    def test_a_file_of_weights(self, name, tmp_path):
        shape = (32, 32, 3)
        first = encoders.load_encoder(name, shape)
        inner = first if name == "resnet8" else first.layers[-1]
        inner.save_weights(tmp_path / "my.weights.h5")
        again = encoders.load_encoder(name, shape, weights=tmp_path / "my.weights.h5")
        images = _photos(2, shape)
        np.testing.assert_allclose(_values(again, images), _values(first, images), atol=1e-6)
        assert again.count_params() == first.count_params()

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("ResNet50", "caffe"),
            ("ResNet50V2", "tf"),
            ("VGG16", "caffe"),
            ("DenseNet121", "torch"),
            ("MobileNetV2", "tf"),
            ("Xception", "tf"),
            ("NASNetMobile", "tf"),
            ("EfficientNetB0", None),
            ("ConvNeXtTiny", None),
        ],
    )
    def test_are_for_the_range_of_preprocess_input(self, name, expected):
        assert encoders.by_name._range(name, "imagenet") == expected

    @pytest.mark.slow
    def test_of_imagenet_are_downloaded(self, monkeypatch, tmp_path):
        shape = (32, 32, 3)
        theirs = keras.applications.MobileNetV2(
            weights=None, include_top=False, pooling="avg", input_shape=shape
        )
        theirs.get_layer("bn_Conv1").moving_mean.assign(np.ones(32))
        theirs.save_weights(tmp_path / "theirs.weights.h5")
        asked = []

        def get_file(name, origin, **kwargs):  # Nothing can be downloaded where tests run.
            asked.append(origin)
            return str(tmp_path / "theirs.weights.h5")

        home = sys.modules[keras.applications.MobileNetV2.__module__]
        monkeypatch.setattr(home.file_utils, "get_file", get_file)
        with pytest.warns(UserWarning, match="224"):  # Keras': weights for another size.
            encoder = encoders.load_encoder("MobileNetV2", shape, weights="imagenet")
        assert "mobilenet_v2" in asked[0] and "no_top" in asked[0]
        images = _photos(2, shape)
        np.testing.assert_allclose(
            _values(encoder, images), _values(theirs, 2 * images - 1), atol=1e-5
        )

        def fails(*args, **kwargs):
            raise Exception("URL fetch failure")

        monkeypatch.setattr(home.file_utils, "get_file", fails)
        with (
            pytest.raises(ValueError, match=r"`weights` of ImageNet.*URL fetch failure"),
            pytest.warns(UserWarning, match="224"),
        ):
            encoders.load_encoder("MobileNetV2", shape, weights="imagenet")

    def test_bad_calls(self, tmp_path):
        shape = (32, 32, 3)
        (tmp_path / "bad.weights.h5").write_text("nothing")
        (tmp_path / "bad.keras").write_text("nothing")
        cases = [
            (lambda: encoders.load_encoder("resnet8"), "`image_shape` must be given"),
            (lambda: encoders.load_encoder("runs/no"), "`encoder` must be a run.* it is not there"),
            (lambda: encoders.load_encoder("resnet8", shape, weights="imagenet"), "a file or None"),
            (
                lambda: encoders.load_encoder("ResNet50", (32, 32, 1), weights="imagenet"),
                "3 channels",
            ),
            (lambda: encoders.load_encoder("resnet8", shape, weights="no.h5"), "`weights` must be"),
            (
                lambda: encoders.load_encoder(
                    "resnet8", shape, weights=tmp_path / "bad.weights.h5"
                ),
                "a file of the weights of 'resnet8'",
            ),
            (lambda: encoders.load_encoder(tmp_path / "bad.keras"), "that Keras can read"),
            (lambda: encoders.load_encoder(tmp_path), "must be one of.*folder of a run"),
            (
                lambda: encoders.load_encoder(tiny_encoder(), weights="imagenet"),
                "left out for a mo",
            ),
            (lambda: encoders.load_encoder("resnet8", shape, pooling="class"), "no class token"),
        ]
        for call, message in cases:
            with pytest.raises(ValueError, match=message):
                call()

    def test_a_method_and_its_file_give_their_encoder(self, tmp_path):
        model = models.VICReg(_small_resnet(), "8-6")
        model.build((None, *SHAPE))
        model.save(tmp_path / "model.keras")
        again = encoders.load_encoder(tmp_path / "model.keras")
        np.testing.assert_array_equal(_values(again), _values(model.encoder))
        assert encoders.load_encoder(model) is model.encoder


# --- The part that is trained --------------------------------------------------------------------


def _views():
    images = _photos(8)
    return (images, images[:, ::-1].copy())


def _method(network, optimizer=None, layer_decay=None, **part):
    encoder = encoders.prepare_training(encoders.as_encoder(network), **part)
    model = models.VICReg(encoder, "8-6", layer_decay=layer_decay)
    model.build((None, *SHAPE))
    # Eagerly, because most of the time would go into graphs.
    model.compile(optimizer or keras.optimizers.Adam(1e-2), run_eagerly=True)
    return model


def _train(model, epochs=2):
    model.fit(_views(), batch_size=8, epochs=epochs, verbose=0, shuffle=False)


def _numbers(variables):
    return [ops.convert_to_numpy(v).copy() for v in variables]


def _changed(weights, before):
    return {w.path for w, b in zip(weights, before, strict=True) if not np.array_equal(w, b)}


PARTS = {
    "blocks": (_small_vit, dict(freeze=1), r"block_2|^norm"),
    "fraction": (_small_resnet, dict(freeze=0.5), r"block_2"),
    "all": (_small_vit, dict(freeze=1.0), r"nothing"),
    "names": (_small_resnet, dict(freeze=["stem", "block_2"]), r"block_1"),
    "LoRA": (_small_vit, dict(lora_rank=2), r"lora_kernel"),
    "LoRA of the rest": (_small_vit, dict(freeze=1, lora_rank=2), r"block_2.*(query|value)/lora"),
    "LoRA of convolutions": (_small_resnet, dict(lora_rank=2), r"lora_kernel"),
}


class TestTrainedPart:
    @pytest.mark.long
    @pytest.mark.parametrize("name", _slow(PARTS, "names", "LoRA of the rest"))
    def test_nothing_else_changes_and_a_file_continues(self, name, tmp_path):
        build, part, trained = PARTS[name]
        model = _method(build(), **part)
        before = _numbers(model.encoder.weights)
        _train(model, 1)  # The first step changes B only, which makes the gradient of A.
        _train(model, 1)
        changed = _changed(model.encoder.weights, before)
        named = {w.path for w in model.encoder.weights if re.search(trained, w.path)}
        assert changed == named and bool(named) == (name != "all")

        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        for either in (model, again):
            _train(either)
        for a, b in zip(model.variables, again.variables, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.long
    @pytest.mark.parametrize("name", _slow(["blocks", "LoRA", "LoRA of convolutions"], "LoRA"))
    def test_the_saved_encoder_is_the_merged_one(self, name, tmp_path):
        build, part, _ = PARTS[name]
        model = _method(build(), **part)
        _train(model)
        folder = RunFolder(tmp_path / "run")
        folder.save_encoder(model.encoder)
        plain = keras.models.load_model(tmp_path / "run" / "encoder.keras")
        np.testing.assert_allclose(_values(plain), _values(model.encoder), rtol=1e-5, atol=1e-6)
        fresh = build()
        assert [w.shape for w in plain.weights] == [w.shape for w in fresh.weights]
        assert len(plain.trainable_weights) == len(fresh.trainable_weights)
        assert encoders.describe_training(model.encoder)  # It is still as it was.
        model.save(tmp_path / "model.keras")
        from_method = encoders.load_encoder(tmp_path / "model.keras")
        np.testing.assert_array_equal(_values(from_method), _values(plain))
        assert not encoders.describe_training(from_method)

    def test_frozen_batch_normalization_does_not_see_the_batch(self):
        model = _method(_small_resnet(), freeze=1.0)
        images = _photos()
        np.testing.assert_array_equal(
            model.encoder(images, training=True), model.encoder(images, training=False)
        )

    @pytest.mark.long
    def test_a_lora_of_the_users_own_goes_on(self, tmp_path):
        """Keras' files hold W + A B, from which A and B would start at zero."""
        encoder = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()])
        encoder.add(keras.layers.Dense(6))
        encoder.layers[-1].enable_lora(2)
        model = _method(encoder)
        trained = [w.name for w in model.encoder.trainable_weights]
        _train(model, 1)
        _train(model, 1)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert [w.name for w in again.encoder.trainable_weights] == trained and len(trained) == 3
        for either in (model, again):
            _train(either)
        for a, b in zip(model.variables, again.variables, strict=True):
            np.testing.assert_array_equal(a, b)
        plain = encoders.plain_encoder(again.encoder)
        assert len(plain.weights) == 2
        np.testing.assert_allclose(_values(plain), _values(again.encoder), rtol=1e-5, atol=1e-6)

    def test_only_a_lora_is_merged(self):
        adapted, sums = lora_encoder()
        merged = encoders.merged_encoder(adapted)
        for name, kernel in sums.items():
            np.testing.assert_allclose(merged.get_layer(name).kernel, kernel, rtol=1e-5, atol=1e-6)
        frozen = encoders.prepare_training(_small_resnet(), freeze=1.0)
        assert encoders.merged_encoder(frozen) is frozen
        adapted.get_config = lambda: 1 / 0
        with pytest.raises(ValueError, match="`encoder` must be one that Keras can rebuild"):
            encoders.merged_encoder(adapted)

    def test_lora_does_nothing_at_first(self):
        network = _small_vit()
        before = _values(network)
        encoders.prepare_training(network, lora_rank=2)
        np.testing.assert_array_equal(_values(network), before)

    @pytest.mark.parametrize(
        ("part", "message"),
        [
            (dict(freeze=3), "number of blocks from 0 to 2"),
            (dict(freeze=-1), "number of blocks"),
            (dict(freeze=1.5), "a fraction above 0"),
            (dict(freeze=True), "whole number of blocks, a fraction, or names"),
            (dict(freeze="layer_7"), "must name layers.*block_1_norm_1.*layer_7"),
            (dict(freeze="bloc"), "must name layers"),
            (dict(lora_rank=0), "`lora_rank`"),
            (dict(freeze=1.0, lora_rank=2), "`lora_rank` must be None.*not frozen"),
        ],
        ids=str,
    )
    def test_bad_calls_change_nothing(self, part, message):
        network = _small_vit()
        with pytest.raises(ValueError, match=message):
            encoders.prepare_training(network, **part)
        assert not encoders.describe_training(network)

    def test_a_second_lora_is_refused(self):
        network = encoders.prepare_training(_small_vit(), lora_rank=2)
        with pytest.raises(ValueError, match="already has a LoRA"):
            encoders.prepare_training(network, lora_rank=2)


class TestLayerDecay:
    def test_factors_are_those_of_beit(self):
        network = _small_vit()
        factors = {v.path: f for v, f in encoders.layer_factors(network, 0.5)}
        assert len(factors) == len(network.trainable_weights)
        assert factors["norm/gamma"] == 1
        assert factors["block_2_dense_1/kernel"] == 0.5
        assert factors["block_1_attention/query/kernel"] == 0.25
        assert factors["patch_and_position_embedding/bias"] == 0.125

    @pytest.mark.long
    @pytest.mark.parametrize("name", _slow(["AdamW", "SGD", "LARS", "loss scale"], "AdamW"))
    def test_steps_have_the_ratio(self, name):
        make = {
            "AdamW": lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.1),
            "SGD": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
            "LARS": lambda: optimizers.LARS(0.1),
            "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(1e-3)),
        }[name]
        steps = {}
        network = _small_vit()
        start = _numbers(network.weights)
        for decay in (None, 0.5):
            keras.utils.set_random_seed(0)
            network = _small_vit()
            network.set_weights(start)
            model = _method(network, make(), decay)
            _train(model, 1)
            weights = model.encoder.trainable_weights
            steps[decay] = [a - b for a, b in zip(_numbers(weights), start, strict=True)]
        for (weight, factor), whole, scaled in zip(
            encoders.layer_factors(network, 0.5), steps[None], steps[0.5], strict=True
        ):
            assert np.abs(whole).max() > 0, weight.path
            np.testing.assert_allclose(scaled, factor * whole, rtol=2e-2, atol=2e-7)

    @pytest.mark.slow
    def test_a_loaded_model_goes_on_with_it(self, tmp_path):
        model = _method(_small_vit(), keras.optimizers.AdamW(1e-2), 0.5)
        _train(model)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert again.layer_decay == 0.5
        for either in (model, again):
            _train(either)
        for a, b in zip(model.variables, again.variables, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("value", [0, -1, 1.1, "a"], ids=str)
    def test_a_bad_one_is_refused(self, value):
        with pytest.raises(ValueError, match="`layer_decay`"):
            models.VICReg(_small_vit(), "8-6", layer_decay=value)


# --- KerasHub ------------------------------------------------------------------------------------


def _backbones():
    keras_hub = pytest.importorskip("keras_hub")
    hub_models = keras_hub.models
    size = dict(patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, image_shape=SHAPE)
    dino = dict(**size, intermediate_dim=32)
    return {
        "ViT": lambda: hub_models.ViTBackbone(mlp_dim=32, **size),
        "DINOv2": lambda: hub_models.DINOV2Backbone(
            num_register_tokens=4, position_embedding_shape=(32, 32, 3), **dino
        ),
        "DINOv3": lambda: hub_models.DINOV3Backbone(**dino),
        "ResNet": lambda: hub_models.ResNetBackbone(
            [64], [3], [64, 64], [1, 1], [1, 2], "basic_block", image_shape=SHAPE
        ),
    }


PREFIX = {"ViT": 1, "DINOv2": 5, "DINOv3": 5}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT", "DINOv2", "DINOv3", "ResNet"])
def test_a_backbone_of_keras_hub(name, tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = _backbones()[name]()
    backbone.save_to_preset(str(tmp_path / "preset"))
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    keras_hub.layers.ImageConverter(
        scale=[1 / 255 / d for d in deviation],
        offset=[-m / d for m, d in zip(mean, deviation, strict=True)],
    ).save_to_preset(str(tmp_path / "preset"))
    converter_class = json.loads((tmp_path / "preset" / "image_converter.json").read_text())
    assert converter_class["class_name"] == "ImageConverter"

    scaled = (_photos() - np.float32(mean)) / np.float32(deviation)
    inputs = backbone.input if isinstance(backbone.input, dict) else None
    outputs = backbone.predict({next(iter(inputs)): scaled} if inputs else scaled, verbose=0)
    if name == "ResNet":
        expected = {None: outputs.mean(axis=(1, 2))}
    else:
        patches = outputs[:, PREFIX[name] :]
        assert patches.shape[1] == 16
        expected = {None: outputs[:, 0], "class": outputs[:, 0], "mean": patches.mean(axis=1)}
    for pooling, values in expected.items():
        encoder = encoders.load_encoder(tmp_path / "preset", pooling=pooling)
        np.testing.assert_allclose(_values(encoder), values, rtol=1e-3, atol=1e-4)

    part = dict(freeze=1, lora_rank=2) if name != "ResNet" else dict(freeze=1)
    encoder = encoders.load_encoder(tmp_path / "preset", SHAPE)
    model = models.VICReg(encoders.prepare_training(encoder, **part), "8-6", layer_decay=0.5)
    model.build((None, *SHAPE))
    model.compile(keras.optimizers.AdamW(1e-2), run_eagerly=True)
    _train(model)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for either in (model, again):
        _train(either, 1)
    for a, b in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    encoders.plain_encoder(model.encoder).save(tmp_path / "encoder.keras")
    loaded = encoders.load_encoder(tmp_path / "encoder.keras")
    np.testing.assert_allclose(_values(loaded), _values(model.encoder), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_preset_that_cannot_be_had(tmp_path):
    pytest.importorskip("keras_hub")
    _backbones()["ViT"]().save_to_preset(str(tmp_path / "preset"))
    with pytest.raises(ValueError, match=r"KerasHub can load for images of shape \(32, 32, 3\)"):
        encoders.load_encoder(tmp_path / "preset", (32, 32, 3))
    with pytest.raises(ValueError, match="a preset that KerasHub can load"):
        encoders.load_encoder("keras_hub:no_such_preset")
    assert not hub.is_preset(str(tmp_path))


def test_without_keras_hub_a_preset_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ValueError, match="pip install keras-hub.*'hf://someone/some_vit'"):
        encoders.load_encoder("hf://someone/some_vit")


@pytest.mark.long
def test_the_page_runs(tmp_path, monkeypatch):
    """The programs of docs/encoders.md run, one after the other."""
    page = (pathlib.Path(__file__).parent.parent / "docs" / "encoders.md").read_text("utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(programs) >= 3
    monkeypatch.chdir(tmp_path)
    names = {}
    for program in programs:
        exec(program, names)


def test_a_file_of_efficientnet_gets_the_range_that_keras_gives_to_imagenet_alone(monkeypatch):
    def build(last):
        images = keras.Input((8, 8, 3))
        x = keras.layers.Rescaling(1 / 255)(images)
        x = keras.layers.Normalization()(x)
        if last:
            x = keras.layers.Rescaling([0.229**-0.5, 0.224**-0.5, 0.225**-0.5])(x)
        return keras.Model(images, keras.layers.Conv2D(4, 3, name="conv")(x))

    with_it, without = build(True), build(False)
    for network in (with_it, without):
        normalization = network.layers[2]
        normalization.set_weights(
            [np.array(w) for w in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 0)]
        )
        normalization.finalize_state()
    without.get_layer("conv").set_weights(with_it.get_layer("conv").get_weights())
    range_ = by_name._range_of_a_file(without, "a.h5")
    assert by_name._range_of_a_file(without, None) is None
    assert by_name._range_of_a_file(build(False), "a.h5") is None  # Trained from nothing.
    images = _photos(2, (8, 8, 3))
    found = encoders.as_encoder(without, range_)(images)
    wanted = encoders.as_encoder(with_it, (0, 255))(images)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_resizing_that_rounds_tells_nothing():
    layers = [keras.layers.Resizing(9, 9, interpolation="bicubic"), keras.layers.Conv2D(4, 3)]
    network = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    assert encoders.find_range(network, (16, 16, 3)) is None


def test_a_network_for_images_around_zero_is_not_taken_for_one_from_zero():
    """[0, 1] would arrive as [0.1, 2.1]."""
    layers = [keras.layers.Normalization(mean=[-0.05], variance=[0.25]), keras.layers.Conv2D(4, 3)]
    network = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    assert encoders.find_range(network, (8, 8, 1)) == (-1.0, 1.0)


class Standardized(keras.layers.Layer):
    """Its own kernel, and a layer inside it."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.bias = self.add_weight(shape=(4,), initializer="zeros", name="bias")
        self.bias_initializer = keras.initializers.Zeros()
        self.relu = keras.layers.ReLU()

    def call(self, x):
        return self.relu(100 * (x @ self.kernel) + self.bias)


def test_a_layer_with_weights_of_its_own_is_the_end_of_the_search():
    network = keras.Sequential([keras.Input((8, 8, 3)), Standardized()])
    assert encoders.find_range(network, (8, 8, 3)) is None and not looks_trained(network)
    network.layers[0].bias.assign([1, 0, 0, 0])
    assert looks_trained(network)


def test_blocks_of_inception_resnet_and_of_a_network_with_a_name_like_a_block():
    names = ["stem", "block35_1_conv", "block35_2_conv", "block17_1_conv", "conv_7b"]
    layers = [keras.layers.Dense(2, name=name) for name in names]
    network = keras.Sequential([keras.Input((2,)), *layers], name="vit_layer12")
    wrapped = keras.Sequential([keras.Input((2,)), network])
    for encoder in (network, wrapped):
        stem, blocks, tail = encoders.find_blocks(encoder)
        assert [len(part) for part in (stem, blocks, tail)] == [1, 3, 1]
