import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import keras_ssl
from keras_ssl import encoders, evaluation, finetuning, layers, models
from keras_ssl.commands.export import export
from keras_ssl.encoders.exported import load_exported
from keras_ssl.encoders.input_range import _before_weights, looks_trained
from keras_ssl.exporting.precision import in_float32
from tests.conftest import tiny_encoder

SHAPE = (32, 32, 3)
PREPROCESSING = {"caffe": "resnet", "torch": "densenet", "tf": "mobilenet_v2"}


def _network(*front, shape=SHAPE, trained=True, dtype="float32"):
    """A small network behind layers that may scale its images."""
    x = images = keras.layers.Input(shape, dtype=dtype)
    for layer in front:
        x = layer(x)
    x = keras.layers.Conv2D(4, 3, strides=2, name="first")(x)
    batch_norm = keras.layers.BatchNormalization()
    x = batch_norm(x)
    if trained:
        batch_norm.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x), name="network")


def _arrives(model, images):
    return _before_weights(model, images).reshape(len(images), -1)


def _photos(count=2, shape=SHAPE):
    return np.random.RandomState(0).uniform(size=(count, *shape)).astype("float32")


def _rescaling(scale, offset=0.0):
    return keras.layers.Rescaling(scale, offset)


def _normalization(highest):
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return keras.layers.Normalization(
        mean=list(mean * highest), variance=list((deviation * highest) ** 2)
    )


class TestRange:
    @pytest.mark.parametrize(
        ("front", "wanted"),
        [
            (lambda: [_rescaling(1 / 255)], (0, 255)),
            (lambda: [_rescaling(1 / 127.5, -1)], (0, 255)),
            (lambda: [_rescaling(1 / 128, -1)], (0, 255)),
            (lambda: [_normalization(255)], (0, 255)),
            (lambda: [_rescaling(1 / 255), _normalization(1)], (0, 255)),
            (lambda: [keras.applications.resnet.preprocess_input], (0, 255)),
            (lambda: [keras.applications.densenet.preprocess_input], (0, 255)),
            (lambda: [lambda x: x / 255.0], (0, 255)),
            (lambda: [keras.layers.RandomFlip(), _rescaling(1 / 255)], (0, 255)),
            (lambda: [keras.layers.ZeroPadding2D(9), _rescaling(1 / 127.5, -1)], (0, 255)),
            (lambda: [keras.Sequential([_rescaling(1 / 255)])], (0, 255)),
            (lambda: [_normalization(1)], (0, 1)),
            (lambda: [_rescaling(2, -1)], (0, 1)),
            (lambda: [_rescaling(255.0)], (0, 1)),
            (lambda: [_rescaling(255.0), _normalization(255)], (0, 1)),
            (lambda: [_rescaling(0.5, 0.5)], (-1, 1)),
            (lambda: [], None),
            (lambda: [keras.layers.ZeroPadding2D(3)], None),
            (lambda: [_rescaling(1.0)], None),
            (lambda: [keras.layers.Normalization()], None),
        ],
        ids=[
            "divides by 255",
            "to -1..1",
            "by 128",
            "ImageNet of bytes",
            "255, ImageNet",
            "caffe inside",
            "torch inside",
            "an operation",
            "after a flip",
            "after padding",
            "nested",
            "ImageNet of [0, 1]",
            "[0, 1] to -1..1",
            "times 255",
            "times 255, ImageNet",
            "[-1, 1] to [0, 1]",
            "nothing",
            "padding",
            "once",
            "not adapted",
        ],
    )
    def test_is_found_in_the_network(self, front, wanted):
        network = _network(*front())
        assert encoders.find_range(network, SHAPE) == wanted
        if wanted is None:
            return
        encoder = encoders.as_encoder(network)
        low, high = wanted
        images = _photos()
        np.testing.assert_allclose(
            encoder(images), network(low + (high - low) * images), rtol=1e-4, atol=1e-4
        )

    def test_an_adapted_normalization_tells_its_own(self):
        for highest in (1, 255):
            layer = keras.layers.Normalization()
            layer.adapt(highest * _photos(8))
            assert encoders.find_range(_network(layer), SHAPE) == (0, highest)

    def test_bytes_are_given_to_an_input_of_integers(self):
        network = _network(_rescaling(1 / 255), dtype="uint8")
        bytes_ = np.random.RandomState(0).randint(0, 256, (2, *SHAPE)).astype("uint8")
        encoder = encoders.as_encoder(network)
        np.testing.assert_array_equal(encoder(bytes_ / np.float32(255)), network(bytes_))

    @pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
    def test_a_stated_mode_is_that_of_preprocess_input(self, mode):
        network = _network()
        encoder = encoders.as_encoder(network, mode)
        images = _photos()
        prepared = keras.applications.imagenet_utils.preprocess_input(255 * images, mode=mode)
        np.testing.assert_allclose(encoder(images), network(prepared), rtol=1e-4, atol=1e-4)
        assert mode in encoders.describe_range(encoder) or mode == "tf"

    def test_a_trained_network_that_does_not_tell_is_asked(self):
        with pytest.raises(ValueError, match="`input_range` must be given.*caffe.*'network'"):
            encoders.as_encoder(_network())
        with pytest.raises(ValueError, match="`input_range` must be given"):
            models.VICReg(_network(), "8-6")
        with pytest.raises(ValueError, match="`input_range` must be given"):
            encoders.as_encoder(keras.Sequential([_network()]), image_shape=SHAPE)

    def test_an_untrained_network_that_does_not_tell_is_not(self):
        encoder = encoders.as_encoder(_network(trained=False))
        assert encoders.describe_range(encoder) == "[0, 1]"
        np.testing.assert_allclose(_arrives(encoder, _photos()), _photos().reshape(2, -1))

    def test_scaling_that_fits_nothing_is_asked_about(self):
        with pytest.raises(ValueError, match="`input_range` must be given.*scales its images"):
            encoders.as_encoder(_network(_rescaling(1 / 65535), trained=False))
        encoder = encoders.as_encoder(_network(_rescaling(1 / 65535)), (0, 65535))
        assert np.ptp(_arrives(encoder, _photos())) == pytest.approx(1, abs=0.01)

    def test_a_stated_range_that_the_layers_contradict_is_warned_of(self):
        with pytest.warns(UserWarning, match=r"\(0.0, 1.0\).*made for \(0.0, 255.0\)"):
            encoders.as_encoder(_network(_rescaling(1 / 255)), (0, 1))

    @pytest.mark.parametrize(
        ("front", "stated", "text"),
        [
            ([], "caffe", 'mode "caffe"'),
            ([], (0, 1), "[0, 1]"),
            ([], (0, 255), "[0, 255], scaled"),
            ([_rescaling(1 / 127.5, -1)], None, "[0, 255], scaled"),
        ],
        ids=["caffe", "unit", "bytes", "found"],
    )
    def test_is_saved_in_the_file_and_not_applied_twice(self, front, stated, text, tmp_path):
        encoder = encoders.as_encoder(_network(*front), stated)
        assert text in encoders.describe_range(encoder)
        encoder.save(tmp_path / "encoder.keras")
        loaded = keras.models.load_model(tmp_path / "encoder.keras")
        assert looks_trained(loaded)
        again = encoders.as_encoder(loaded)
        assert again is loaded and encoders.describe_range(again) == encoders.describe_range(
            encoder
        )
        np.testing.assert_array_equal(again(_photos()), encoder(_photos()))
        with pytest.raises(ValueError, match="`input_range` must be left out"):
            encoders.as_encoder(loaded, (0, 255))
        with zipfile.ZipFile(tmp_path / "encoder.keras") as archive:
            assert "keras_ssl" not in json.dumps(json.loads(archive.read("config.json")))

    @pytest.mark.slow  # Another process imports TensorFlow; the test above reads the file.
    def test_a_file_in_the_mode_of_caffe_loads_without_this_library(self, tmp_path):
        encoder = encoders.as_encoder(_network(), "caffe")
        encoder.save(tmp_path / "encoder.keras")
        np.save(tmp_path / "images.npy", _photos())
        program = (
            "import keras, numpy, sys; keras.models.load_model('encoder.keras')"
            ".predict(numpy.load('images.npy'), verbose=0).tofile('out');"
            "assert 'keras_ssl' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env=os.environ)
        out = np.fromfile(tmp_path / "out", "float32").reshape(2, 4)
        np.testing.assert_allclose(out, encoder(_photos()), rtol=1e-4)

    def test_who_trains_a_network_need_not_state_its_range_to_judge_it(self, images):
        network = tiny_encoder()
        models.VICReg(network, "8-6")
        network.layers[1].moving_mean.assign(np.ones(16))
        other = keras.models.clone_model(network)
        other.set_weights(network.get_weights())
        assert evaluation.extract(network, images).values.shape == (48, 16)
        with pytest.raises(ValueError, match="`input_range` must be given"):
            evaluation.extract(other, images)

    def test_evaluation_and_training_see_the_same(self, images):
        network = _network(_rescaling(1 / 255), shape=(8, 8, 1), trained=False)
        model = models.VICReg(network, "8-6")
        features = evaluation.extract(network, images)
        np.testing.assert_allclose(features.values, evaluation.extract(model, images).values)
        pixels = next(iter(images.batches(48)))[0]
        np.testing.assert_allclose(features.values, network(255 * pixels), rtol=1e-4, atol=1e-5)

    def test_an_untrained_likeness_normalizes_like_the_trained_one(self, images):
        layer = keras.layers.Normalization()
        layer.adapt(255 * next(iter(images.batches(48)))[0])
        network = _network(layer, shape=(8, 8, 1))
        rows = evaluation.judge_beside_baselines(network, images, images)
        assert list(rows) == ["raw pixels", "untrained", "trained"]
        clone = evaluation.judgment.untrained(encoders.as_encoder(network))
        pixels = next(iter(images.batches(48)))[0].numpy()
        assert np.std(_arrives(clone, pixels)) == pytest.approx(1, abs=0.05)

    @pytest.mark.long
    @pytest.mark.parametrize("made", ["sequential", "subclass"])
    def test_is_found_once_the_images_are_known(self, made, views, tmp_path):
        class Mine(keras.Model):
            def __init__(self):
                super().__init__()
                self.body = keras.Sequential(
                    [_rescaling(1 / 255), keras.layers.Conv2D(5, 3), keras.layers.ReLU()]
                )

            def call(self, images):
                return self.body(images)

        model = models.VICReg(Mine().body if made == "sequential" else Mine(), "8-6")
        model.compile("sgd")
        model.fit(views, steps_per_epoch=2, verbose=0, shuffle=False)
        assert "[0, 255], scaled" in encoders.describe_range(model.encoder)
        np.testing.assert_allclose(
            _arrives(model.encoder, _photos(2, (8, 8, 1))),
            _photos(2, (8, 8, 1)).reshape(2, -1),
            rtol=1e-5,
        )
        if made == "sequential":
            model.save(tmp_path / "model.keras")
            again = keras.models.load_model(tmp_path / "model.keras")
            for either in (model, again):
                either.fit(views, steps_per_epoch=2, verbose=0, shuffle=False)
            for a, b in zip(model.variables, again.variables, strict=True):
                np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("is_deferred", [False, True], ids=["graph", "no graph yet"])
    @pytest.mark.parametrize("stated", ["caffe", (0, 255)], ids=str)
    def test_a_method_that_is_not_built_keeps_it(self, stated, is_deferred):
        network = _network(trained=False)
        first = models.VICReg(
            keras.Sequential([network]) if is_deferred else network, "8-6", input_range=stated
        )
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(first)))
        again = keras.saving.deserialize_keras_object(config)
        again.build((None, *SHAPE))
        expected = encoders.as_encoder(network, stated)
        np.testing.assert_allclose(
            _arrives(again.encoder, _photos()), _arrives(expected, _photos()), rtol=1e-6
        )

    @pytest.mark.parametrize(
        "value",
        ["bgr", (0,), (0, 1, 2), (1, 0), (0, 0), (0, np.nan), (0, np.inf), 255, b"tf", ("a", "b")],
        ids=str,
    )
    def test_a_bad_one_is_refused(self, value):
        with pytest.raises(ValueError, match="`input_range` must be a pair.*Received: input_range"):
            encoders.as_encoder(_network(), value)

    def test_numpy_scalars_are_numbers(self):
        encoder = encoders.as_encoder(_network(), (np.int64(0), np.float32(255)))
        assert "[0, 255]" in encoders.describe_range(encoder)

    def test_modes_are_for_three_channels(self):
        with pytest.raises(ValueError, match=r"3 channels.*\(32, 32, 1\)"):
            encoders.as_encoder(_network(shape=(32, 32, 1)), "caffe")


APPLICATIONS = {
    name: thing
    for name, thing in vars(keras.applications).items()
    if callable(thing) and name[0].isupper()
}
OWN_PREPROCESSING = ("EfficientNet", "MobileNetV3", "ConvNeXt")
MODES = {"ResNet": "caffe", "VGG": "caffe", "DenseNet": "torch"}
FAST = ("EfficientNetB0", "MobileNetV3Small", "MobileNetV2")


@pytest.mark.parametrize(
    "name",
    [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in sorted(APPLICATIONS)],
)
def test_every_application_sees_what_its_own_preprocessing_gives(name):
    """The encoder of images in [0, 1] equals the application on the same images in [0, 255]."""
    shape = (331, 331, 3) if name == "NASNetLarge" else (96, 96, 3)
    network = APPLICATIONS[name](weights=None, include_top=False, pooling="avg", input_shape=shape)
    mode = None
    if not name.startswith(OWN_PREPROCESSING):
        family = name.removesuffix("V2") if not name.endswith("V2") else "tf"
        mode = next((m for start, m in MODES.items() if family.startswith(start)), "tf")
    encoder = encoders.as_encoder(network, mode)
    images = _photos(1, shape)
    theirs = 255 * images
    if mode is not None:
        theirs = keras.applications.imagenet_utils.preprocess_input(theirs, mode=mode)
    ours = _arrives(encoder, images)
    np.testing.assert_allclose(ours, _arrives(network, theirs), rtol=1e-4, atol=1e-4)
    assert 0.5 < np.ptp(ours) < 300 and (mode == "caffe" or np.ptp(ours) < 10)


@pytest.mark.parametrize(
    ("name", "channels", "text"),
    [
        ("MobileNetV3Small", 3, "[0, 255], scaled"),
        ("MobileNetV3Small", 1, "[0, 1]"),
        ("MobileNetV2", 3, "[0, 1]"),
        pytest.param("ConvNeXtTiny", 1, "[0, 1]", marks=pytest.mark.slow),
        pytest.param("EfficientNetB0", 1, "[0, 255], scaled", marks=pytest.mark.slow),
        pytest.param("EfficientNetV2B0", 1, "[0, 1]", marks=pytest.mark.slow),
    ],
)
def test_an_application_by_its_name(name, channels, text):
    encoder = encoders.build_encoder(name, (32, 32, channels))
    assert text in encoders.describe_range(encoder)
    seen = _arrives(encoder, _photos(2, (32, 32, channels)))
    assert 0.9 < np.ptp(seen) < 10


class TestNoEncoder:
    @pytest.mark.parametrize(
        "build",
        [
            lambda: keras.applications.MobileNetV2(weights=None, alpha=0.35),
            lambda: keras.applications.MobileNetV2(
                weights=None, alpha=0.35, classifier_activation=None
            ),
            lambda: keras.applications.MobileNet(
                weights=None, alpha=0.25, classifier_activation=None
            ),
            lambda: keras.Sequential([tiny_encoder(), keras.layers.Dense(3, "softmax")]),
            lambda: keras.Sequential([keras.layers.Flatten(), keras.layers.Softmax()]),
            lambda: keras.Sequential([keras.Sequential([keras.layers.Softmax()])]),
        ],
        ids=["with top", "logits", "logits, MobileNet", "softmax", "layer", "nested"],
    )
    def test_a_classifier(self, build):
        with pytest.raises(ValueError, match="not in a classifier.*include_top=False"):
            encoders.as_encoder(build())

    def test_a_dense_layer_is_none(self):
        network = keras.Sequential([tiny_encoder(), keras.layers.Dense(3)])
        assert encoders.as_encoder(network, image_shape=(8, 8, 1)).output_shape == (None, 3)

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda x: keras.Model(x, [x, x + 1]), "one output.*2 outputs"),
            (lambda x: keras.Model(x, (keras.ops.mean(x, (1, 2)), x)), "one output"),
            (
                lambda x: keras.Model(
                    x, keras.layers.Conv2D(4, 3, data_format="channels_first")(x)
                ),
                "channels last.*Permute.*'channels_first'",
            ),
        ],
        ids=["two outputs", "tuple of two", "channels first"],
    )
    def test_a_graph_that_cannot_be_one(self, build, message):
        with pytest.raises(ValueError, match=message):
            encoders.as_encoder(build(keras.Input(SHAPE)))

    @pytest.mark.parametrize("structure", ["list", "dictionary"])
    def test_one_input_in_a_structure_is_one(self, structure):
        x = keras.Input(SHAPE, name="image")
        inputs = [x] if structure == "list" else {"image": x}
        network = keras.Model(inputs, {"maps": keras.layers.Conv2D(3, 3)(x)})
        assert encoders.as_encoder(network)(_photos()).shape == (2, 3)


class TestOtherInputs:
    """Views need not be images: a model with other inputs is left as it is."""

    def _vectors(self, *more):
        return keras.Sequential([keras.Input((12,)), *more, keras.layers.Dense(3)])

    def test_it_is_taken_as_it_is(self):
        network = self._vectors()
        assert encoders.as_encoder(network) is network

    def test_it_has_no_range(self):
        with pytest.raises(ValueError, match="does not take images.*'tf'"):
            encoders.as_encoder(self._vectors(), input_range="tf")

    def test_it_gives_one_representation_a_row(self):
        with pytest.raises(ValueError, match=r"one representation.*\(None, 4, 3\)"):
            encoders.as_encoder(self._vectors(keras.layers.Reshape((4, 3))))


class TestAnyModelIsAnEncoder:
    def test_feature_maps_are_pooled(self):
        inputs = keras.layers.Input((8, 8, 3))
        maps = keras.Model(inputs, keras.layers.Conv2D(5, 3)(inputs))
        assert encoders.as_encoder(maps).output_shape == (None, 5)

    @pytest.mark.long
    def test_keras_applications(self):
        network = keras.applications.MobileNetV2(
            (32, 32, 3), include_top=False, weights=None, alpha=0.35
        )
        model = models.VICReg(network, "8-6")
        assert model.predict(np.zeros((2, 32, 32, 3), "float32"), verbose=0).shape == (2, 1280)

    @pytest.mark.long
    @pytest.mark.parametrize("gives_maps", [False, True], ids=["vectors", "maps"])
    def test_a_subclassed_model_that_knows_nothing_but_call(self, gives_maps, images, views):
        class Mine(keras.Model):
            def __init__(self):
                super().__init__()
                self.convolution = keras.layers.Conv2D(5, 3)
                self.head = keras.layers.ReLU() if gives_maps else keras.layers.Flatten()

            def call(self, images):
                return self.head(self.convolution(images))

        model = models.VICReg(Mine(), "8-6")
        model.compile("sgd")
        model.fit(views, steps_per_epoch=3, verbose=0, shuffle=False)
        features = 5 if gives_maps else 5 * 6 * 6
        assert model.predict(np.zeros((2, 8, 8, 1), "float32"), verbose=0).shape == (2, features)
        assert evaluation.extract(model.encoder, images).values.shape == (48, features)

    def test_a_layer_becomes_a_model(self, images, tmp_path):
        model = models.VICReg(keras.layers.Conv2D(5, 3), "8-6")
        model.build((None, 8, 8, 1))
        assert evaluation.extract(model.encoder, images).values.shape == (48, 5)
        model.encoder.save(tmp_path / "encoder.keras")

    @pytest.mark.parametrize(
        ("build", "features"),
        [
            (lambda: encoders.resnet18((32, 32, 3), width=8), 64),
            (lambda: encoders.resnet50((32, 32, 3), width=8, stem="small"), 256),
            (lambda: encoders.resnet8((28, 28, 1)), 64),
            (lambda: encoders.resnet8((None, None, 3), width=4, stages=3), 4 + 8 + 16),
            (lambda: encoders.resnet((8, 8, 1), (1, 2), 4, bottleneck=True, stages=2), 16 + 32),
        ],
        ids=["resnet18", "resnet50", "resnet8", "three stages", "two stages"],
    )
    def test_builders(self, build, features):
        assert build().output_shape == (None, features)

    def test_of_any_size_they_are_still_made_for_the_size_of_the_images(self):
        network = encoders.build_encoder("resnet18", (32, 32, 3), any_size=True)
        assert network.input_shape == (None, None, None, 3)
        assert network.count_params() == encoders.resnet18((32, 32, 3)).count_params()
        with pytest.raises(ValueError, match="`encoder` must take images of any size.*vit_tiny"):
            encoders.build_encoder("vit_tiny", (32, 32, 3), any_size=True)

    def test_the_stages_stand_side_by_side(self):
        network = encoders.resnet((8, 8, 3), (1, 1), width=4, stages=2)
        ends = [layer.output for layer in network.layers if isinstance(layer, keras.layers.Add)]
        x = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
        maps = keras.Model(network.inputs, ends).predict(x, verbose=0)
        means = [np.maximum(each, 0).mean((1, 2)) for each in maps]
        expected = np.concatenate(means, axis=1)
        np.testing.assert_allclose(network.predict(x, verbose=0), expected, rtol=1e-5)

    def test_resnet_sizes_are_the_published_ones(self):
        # torchvision's, without the classifier: 11.69 M - 0.51 M, 25.56 M - 2.05 M; Keras counts
        # the moving statistics of batch normalization (9,600 and 53,120) as well.
        eighteen = encoders.resnet18((224, 224, 3), stem="imagenet")
        assert eighteen.count_params() == 11_689_512 - 513_000 + 9_600
        fifty = encoders.resnet50((224, 224, 3))
        assert fifty.count_params() == 25_557_032 - 2_049_000 + 53_120

    def test_blocks_start_as_the_identity(self):
        network = encoders.resnet18((32, 32, 3), width=4)
        scales = [
            layer.gamma.numpy()
            for layer in network.layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        assert sum(not scale.any() for scale in scales) == 8

    def test_saved_alone_it_is_plain_keras(self, tmp_path):
        tiny_encoder().save(tmp_path / "encoder.keras")
        with zipfile.ZipFile(tmp_path / "encoder.keras") as archive:
            assert "keras_ssl" not in json.dumps(json.loads(archive.read("config.json")))

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: models.VICReg("resnet18"), TypeError, "`encoder`.*'resnet18'.*str"),
            (
                lambda: models.VICReg(
                    keras.Sequential(
                        [keras.layers.Input((8, 8, 1)), keras.layers.Reshape((8, 8, 1, 1))]
                    )
                ),
                ValueError,
                r"`encoder` must return.*\(None, 8, 8, 1, 1\)",
            ),
            (
                lambda: models.VICReg(tiny_encoder(), "8-6").predict(
                    np.zeros((4, 8, 8, 3), "float32")
                ),
                ValueError,
                r"channels 1.*Received: images of shape \(8, 8, 3\)",
            ),
            (
                lambda: models.VICReg(tiny_encoder(), "8-6").predict(
                    np.zeros((4, 9, 8, 1), "float32")
                ),
                ValueError,
                r"height 8.*Received: images of shape \(9, 8, 1\)",
            ),
            (
                lambda: models.VICReg(tiny_encoder(), "8-6")(np.zeros((4, 8, 8, 1), "uint8")),
                ValueError,
                r"floats in \[0, 1\].*uint8",
            ),
            (lambda: encoders.build_encoder("resnet7", (8, 8, 1)), ValueError, "resnet18.*resnet7"),
            (lambda: encoders.build_encoder(7, (8, 8, 1)), ValueError, "resnet18.*7"),
            (lambda: encoders.build_encoder("resnet8", (8, 8)), ValueError, r"`input_shape`.*8, 8"),
            (lambda: encoders.resnet18((32, 32)), ValueError, r"`input_shape`.*\(32, 32\)"),
            (lambda: encoders.resnet18((32, 0, 3)), ValueError, r"`input_shape`.*\(32, 0, 3\)"),
            (lambda: encoders.resnet18((32.0, 32, 3)), ValueError, r"`input_shape`.*32.0"),
            (lambda: encoders.resnet18((32, 32, None)), ValueError, r"`input_shape`.*None"),
            (lambda: encoders.resnet18(32), ValueError, r"`input_shape`.*32"),
            (lambda: encoders.resnet18(width=1.5), ValueError, "`width`.*1.5"),
            (lambda: encoders.resnet(SHAPE, 3), ValueError, "`blocks`.*3"),
            (lambda: encoders.resnet(SHAPE, [0]), ValueError, "`blocks`.*0"),
            (lambda: encoders.resnet18(stem="big"), ValueError, "`stem`.*small.*'big'"),
        ],
    )
    def test_a_wrong_one_says_so(self, call, error, message):
        with pytest.raises(error, match=message):
            call()


class TestAdaptedNormalization:
    """Keras computes with what follows from its weights, and `set_weights` does not renew that."""

    IMAGES = np.random.RandomState(0).uniform(0.2, 0.9, (6, 8, 8, 1)).astype("float32")

    def encoder(self, dtype="float32"):
        normalization = keras.layers.Normalization(axis=-1)
        normalization.adapt(self.IMAGES)
        images = keras.layers.Input((8, 8, 1), name=encoders.UNIT_INPUT)
        x = keras.layers.Flatten()(normalization(images))
        return keras.Model(images, keras.layers.Dense(4, dtype=dtype)(x))

    def test_a_classifier(self, tmp_path):
        classifier = finetuning.build_classifier(self.encoder(), ["a", "b"])
        classifier.layers[-2].kernel.assign(np.random.RandomState(0).randn(4, 2))
        classifier.save(tmp_path / "c.keras")
        again = keras.models.load_model(tmp_path / "c.keras")
        np.testing.assert_allclose(
            again.predict_on_batch(self.IMAGES), classifier.predict_on_batch(self.IMAGES), rtol=1e-5
        )

    def test_a_teacher(self):
        encoder = self.encoder()
        teacher = layers.MovingAverage(encoder, 0.9)
        np.testing.assert_allclose(
            teacher(self.IMAGES), encoder.predict_on_batch(self.IMAGES), rtol=1e-5
        )

    def test_another_precision(self):
        encoder = self.encoder("mixed_bfloat16")
        expected = encoder.predict_on_batch(self.IMAGES).astype("float32")
        found = in_float32(encoder).predict_on_batch(self.IMAGES)
        np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.05)

    def test_safetensors(self, tmp_path):
        pytest.importorskip("safetensors")
        encoder = self.encoder()
        expected = encoder.predict(self.IMAGES, verbose=0)
        encoder.trainable = False
        export(encoder, tmp_path / "out", format="safetensors", images=None, quiet=True)
        again = encoders.load_encoder(tmp_path / "out")
        np.testing.assert_allclose(again.predict(self.IMAGES, verbose=0), expected, rtol=1e-5)
        assert again.trainable_weights  # What it was frozen for is over.


def test_the_preset_of_an_exported_folder_is_the_preset(tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "contract.json").write_text('{"format": "keras_hub", "file": "preset"}')
    with pytest.raises(ValueError, match="must be the preset inside"):
        load_exported(str(tmp_path))
    assert load_exported(str(tmp_path / "preset")) is None


def test_images_that_are_not_square_keep_their_size(tmp_path):
    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 256, (24, 8, 12, 1)).astype("uint8")
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(24) % 2)
    encoder = evaluation.raw_pixels((8, 12, 1))
    file = tmp_path / "encoder.keras"
    encoder.save(file)
    found = keras_ssl.embed(file, tmp_path / "a.npz", out=tmp_path / "e.npz", quiet=True)
    assert found.features.shape == (24, 8 * 12)
    figures = keras_ssl.evaluate(file, tmp_path / "a.npz", quiet=True)
    assert 0 <= figures["trained"]["knn"] <= 1
