import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_ssl import data
from keras_ssl.data.augmentation.geometry import resize_boxes

LAYERS = {
    # Up to 80 %: a crop to the whole image would change nothing.
    "crop": lambda **k: data.RandomResizedCrop(scale=(0.08, 0.8), **k),
    "flip": lambda **k: data.RandomFlip(**k),
    "jitter": lambda **k: data.RandomColorJitter(**k),
    "gray": lambda **k: data.RandomGrayscale(**k),
    # From sigma 1 on: near 0.1, a blur changes nothing.
    "blur": lambda **k: data.RandomGaussianBlur((1.0, 2.0), **k),
    "solarize": lambda **k: data.RandomSolarize(**k),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def _photo(n=1, size=12, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (n, size, size, channels), "uint8")


def _same_photo(n=400, **kwargs):
    return np.repeat(_photo(**kwargs), n, axis=0)


@every_layer
@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(1, "float32"), (2, "float64"), (3, "uint8"), (3, "float16"), (5, "float32"), (1, "uint8")],
)
def test_any_channels_and_dtype_come_out_as_unit_floats(name, channels, dtype):
    images = _photo(4, channels=channels)
    if dtype != "uint8":
        images = (images / 255).astype(dtype)
    out = LAYERS[name](probability=1.0)(images, seed=(0, 1))
    assert out.shape == images.shape and out.dtype == "float32"
    assert float(tf.reduce_min(out)) >= 0 and float(tf.reduce_max(out)) <= 1 + 1e-6


@every_layer
def test_bytes_and_floats_agree(name):
    images = _photo(4)
    layer = LAYERS[name](probability=1.0)
    a, b = layer(images, seed=(0, 1)), layer(images / 255.0, seed=(0, 1))
    np.testing.assert_allclose(a, b, atol=1e-6)


@every_layer
def test_draws_differ_between_images_and_repeat_under_a_seed(name):
    images = _same_photo(64)
    layer = LAYERS[name](probability=0.5)
    a, b, c = layer(images, seed=(0, 1)), layer(images, seed=(0, 1)), layer(images, seed=(0, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0
    assert len(np.unique(a.numpy().reshape(64, -1), axis=0)) > 1


@every_layer
@pytest.mark.parametrize("probability", [0.0, 0.2, 0.8, 1.0])
def test_probability_is_that_of_each_image(name, probability):
    images = _same_photo(600, size=6)
    out = LAYERS[name](probability=probability)(images, seed=(3, 4))
    changed = np.abs(out - images / 255.0).max((1, 2, 3)) > 1e-4
    # Five standard errors; a crop or a jitter that changes nothing is too rare to count.
    error = 5 * np.sqrt(probability * (1 - probability) / 600)
    assert changed.mean() == pytest.approx(probability, abs=error + 0.005)


@every_layer
def test_inside_a_model_draws_change_from_call_to_call_and_stop_at_inference(name):
    images = _same_photo(32)

    def build():
        # Without the dtype, Keras would hand over bytes as floats from 0 to 255.
        inputs = keras.layers.Input((12, 12, 3), dtype="uint8")
        return keras.Sequential([inputs, LAYERS[name](probability=0.5, seed=1)])

    model = build()
    a, b = model(images, training=True), model(images, training=True)
    assert np.abs(a - b).max() > 0
    np.testing.assert_allclose(model(images, training=False), images / 255.0, atol=1e-6)
    np.testing.assert_array_equal(a, build()(images, training=True))


@every_layer
def test_graph_gives_what_eager_gives(name):
    images = tf.constant(_photo(4))
    layer = LAYERS[name](probability=0.5)
    eager = layer(images, seed=(0, 5))
    graph = tf.function(lambda x, s: layer(x, seed=s))(images, tf.constant([0, 5]))
    # Coordinates of up to 12 pixels, times steps of up to 1 between pixels, rounded in float32.
    np.testing.assert_allclose(eager, graph, atol=1e-5)


@pytest.mark.long
@every_layer
def test_xla_gives_what_eager_gives(name):
    images = tf.constant(_photo(16))
    layer = LAYERS[name](probability=0.5)
    assert layer.supports_jit
    compiled = tf.function(lambda x, s: layer(x, seed=s), jit_compile=True)
    for seed in ([0, 5], [0, 6]):
        np.testing.assert_allclose(
            compiled(images, tf.constant(seed)), layer(images, seed=seed), atol=1e-5
        )


@every_layer
def test_images_of_unknown_size_get_the_same_draws(name):
    images = tf.constant(_photo(8))
    layer = LAYERS[name](probability=0.5)
    unknown = tf.TensorSpec((None, None, None, 3), tf.uint8)
    graph = tf.function(lambda x: layer(x, seed=(0, 5)), input_signature=[unknown])
    np.testing.assert_allclose(graph(images), layer(images, seed=(0, 5)), atol=1e-5)


@pytest.mark.parametrize("name", ["byol", "tiny_gray"])  # Each layer is in one of these.
def test_a_replica_without_images_gets_views_of_none(name):
    """A replica may get no images of the last batch of a data set."""
    policy = data.policy(name, (8, 6))
    some = tf.TensorSpec((None, 12, 10, 3), tf.float32)
    graph = tf.function(lambda x: policy(x, seed=(0, 1)), input_signature=[some])
    assert [view.shape for view in graph(tf.zeros((0, 12, 10, 3)))] == [(0, 8, 6, 3)] * 2


@pytest.mark.parametrize("name", ["byol", "tiny_gray"])
def test_a_graph_knows_the_shapes_of_views(name):
    policy = data.policy(name, (8, 6))
    some = tf.TensorSpec((None, 12, 10, 3), tf.uint8)
    views = tf.function(lambda x: policy(x, seed=(0, 1))).get_concrete_function(some)
    assert [v.shape.as_list() for v in views.structured_outputs] == [[None, 8, 6, 3]] * 2
    shape = (None, 12, 10, 3)
    assert policy.compute_output_shape(shape) == ((None, 8, 6, 3),) * 2


@every_layer
def test_seeds_of_any_length_and_integer_type(name):
    images = _photo(32)
    layer = LAYERS[name](probability=0.5)
    three = layer(images, seed=(1, 2, 3))
    mixed = [1, np.int32(2), tf.constant(3, tf.int64)]
    for same in (np.array([1, 2, 3]), tf.constant([1, 2, 3]), (np.uint8(1), 2, 3), mixed):
        np.testing.assert_array_equal(layer(images, seed=same), three)
    assert np.abs(three - layer(images, seed=(1, 2, 4))).max() > 0
    assert np.abs(three - layer(images, seed=(1, 2))).max() > 0


@pytest.mark.parametrize(
    "seed", [3, (), (1.5, 2), (True, 2), "12", np.array([1.0, 2.0]), tf.constant(3)], ids=repr
)
def test_seeds_must_be_whole_numbers(seed):
    with pytest.raises(ValueError, match="`seed` must be whole numbers"):
        data.RandomFlip()(_photo(), seed=seed)


NUMBER = np.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: data.RandomFlip(NUMBER(0.5), seed=np.int64(3)),
        lambda: data.RandomResizedCrop(
            (np.int64(4), np.uint8(4)), (NUMBER(0.5), NUMBER(1)), (NUMBER(1), NUMBER(1))
        ),
        lambda: data.RandomColorJitter(*map(NUMBER, (0.4, 0.4, 0.2, 0.1, 0.5))),
        lambda: data.RandomGaussianBlur((NUMBER(0.1), NUMBER(2))),
        lambda: data.RandomSolarize(NUMBER(0.2), threshold=NUMBER(0.5)),
        lambda: data.byol(np.array([4, 4]), np.int32(1), NUMBER(1)).view_1,
        lambda: data.weak(strength=NUMBER(1.2)).view_1,
    ],
    ids=["flip", "crop", "jitter", "blur", "solarize", "byol", "weak"],
)
def test_numbers_of_numpy_are_numbers(make):
    layer = make()
    assert layer(_photo(2), seed=(np.int64(1), np.uint8(2))).shape[0] == 2
    json.dumps(layer.get_config())


@pytest.mark.parametrize("name", ["crop", "jitter"])
def test_parallel_map_repeats_under_a_seed(name):
    layer = LAYERS[name](probability=0.5)
    dataset = tf.data.Dataset.from_tensor_slices(_photo(64)).batch(4).enumerate()
    dataset = dataset.map(
        lambda i, x: layer(x, seed=tf.stack([np.int64(7), i])), num_parallel_calls=4
    )
    for a, b in zip(dataset, dataset, strict=True):
        np.testing.assert_array_equal(a, b)


@every_layer
def test_rank_is_checked(name):
    with pytest.raises(ValueError, match=r"`images` must be a batch.*\(12, 12, 3\)"):
        LAYERS[name]()(_photo()[0], seed=(0, 0))


def _spoilt(value):
    images = _photo(4) / 255.0
    images[2, 7, 3, 1] = value
    return images.astype("float32")


BAD_VALUES = {
    "bytes as floats": (_photo(2).astype("float32"), r"floats in \[0, 1\]: divide by 255"),
    "standardized": (_photo(2) / 127.5 - 1, r"floats in \[0, 1\].*from -1 to 1"),
    "a pixel below": (_spoilt(-0.01), r"floats in \[0, 1\].*from -0.01"),
    "a pixel above": (_spoilt(1.01), r"floats in \[0, 1\].*to 1.01"),
    "NaN": (_spoilt(np.nan), r"floats in \[0, 1\].*nan"),
    "integers above 255": (_photo(2).astype("int32") * 2, r"integers in \[0, 255\]"),
    "negative integers": (_photo(2).astype("int64") - 128, r"integers in \[0, 255\].*from -128"),
}
every_bad_value = pytest.mark.parametrize(
    ("images", "message"), BAD_VALUES.values(), ids=BAD_VALUES
)
CALLABLES = {**LAYERS, "policy": lambda **k: data.byol((8, 8))}


class TestWhatIsRefused:
    @every_bad_value
    @pytest.mark.parametrize("name", CALLABLES)
    @pytest.mark.parametrize("training", [True, False])
    def test_values(self, images, message, name, training):
        layer = CALLABLES[name](probability=0.5)
        with pytest.raises(ValueError, match=f"`images` must be {message}"):
            layer(images, training=training, seed=(0, 0))

    @pytest.mark.parametrize(
        ("images", "message"),
        [BAD_VALUES["a pixel above"], BAD_VALUES["negative integers"]],
        ids=["floats", "integers"],
    )
    def test_values_in_a_parallel_map_at_the_batch_that_holds_them(self, images, message):
        good = np.zeros_like(images)
        dataset = tf.data.Dataset.from_tensor_slices(np.concatenate([good, images]))
        policy = data.weak()
        views = iter(
            dataset.batch(len(images)).map(
                lambda x: policy(x, seed=(0, 0)), num_parallel_calls=2, deterministic=True
            )
        )
        assert next(views)[0].shape == images.shape
        with pytest.raises(tf.errors.InvalidArgumentError, match=message.split(".*")[0]):
            next(views)

    def test_values_in_a_model_without_a_dtype(self):
        model = keras.Sequential([keras.layers.Input((12, 12, 3)), data.RandomFlip()])
        with pytest.raises(tf.errors.InvalidArgumentError, match="divide by 255, or pass bytes"):
            model.predict(_photo(2), verbose=0)

    def test_images_of_unknown_rank(self):
        graph = tf.function(lambda x: data.RandomFlip()(x, seed=(0, 0)))
        with pytest.raises(ValueError, match="`images` must be a batch.*unknown"):
            graph.get_concrete_function(tf.TensorSpec(None))

    def test_one_check_for_a_whole_policy(self):
        policy = data.weak()
        image = tf.TensorSpec((2, 12, 12, 3), tf.float32)
        graph = tf.function(lambda x: policy(x, seed=(0, 0))).get_concrete_function(image).graph
        assert sum("Assert" in op.name and op.type == "If" for op in graph.get_operations()) == 1

    @every_layer
    def test_overshoot_of_a_resized_image_passes(self, name):
        images = _photo(4) / 255.0 * 1.0018 - 0.0009
        out = LAYERS[name](probability=0.5)(images, seed=(0, 0)).numpy()
        assert out.min() >= 0 and out.max() <= 1

    @pytest.mark.parametrize(
        "images",
        [
            np.ones((2, 4, 4, 3), bool),
            np.ones((2, 4, 4, 3), "complex64"),
            np.full((2, 4, 4, 3), "1"),
        ],
        ids=lambda images: images.dtype.name,
    )
    @pytest.mark.parametrize("name", CALLABLES)
    def test_dtypes(self, images, name):
        with pytest.raises(ValueError, match=r"`images` must be integers in .*dtype="):
            CALLABLES[name]()(images, seed=(0, 0))

    @pytest.mark.parametrize(
        "shape",
        [(4, 4, 3), (1, 2, 4, 4, 3), (0, 4, 4, 3), (2, 0, 4, 3), (2, 4, 0, 3), (2, 4, 4, 0)],
        ids=str,
    )
    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    @pytest.mark.parametrize("name", CALLABLES)
    def test_shapes(self, shape, dtype, name):
        with pytest.raises(
            ValueError, match=r"`images` must be a batch \(N, height.*Received: shap"
        ):
            CALLABLES[name]()(np.zeros(shape, dtype), seed=(0, 0))


# From torchvision 0.28.0 (torch 2.13.0): transforms.v2.functional.resized_crop(torch.tensor(image)
# [None], *box, size, antialias=True), with image = ((7 * i + 13 * j + i * j) % 32 / 31), float32,
# of rows i and columns j, 12 x 10; boxes are (top, left, height, width).
TORCHVISION = {
    (0, 0, 12, 10): [
        [0.44563, 0.53786, 0.53724, 0.48927],
        [0.54859, 0.48741, 0.43375, 0.41488],
        [0.52409, 0.4717, 0.50387, 0.39233],
        [0.52592, 0.39993, 0.44645, 0.42],
        [0.56387, 0.4561, 0.51055, 0.53349],
    ],
    (2, 1, 9, 7): [
        [0.5526, 0.45698, 0.44042],
        [0.55783, 0.47175, 0.45083],
        [0.46297, 0.39223, 0.54524],
        [0.49414, 0.40201, 0.44358],
    ],
    (3, 2, 4, 5): [
        [0.67742, 0.38249, 0.30876, 0.67742, 0.30876, 0.38249, 0.67742],
        [0.82258, 0.53687, 0.32719, 0.33871, 0.35023, 0.36175, 0.37097],
        [0.84409, 0.66897, 0.40092, 0.05914, 0.45469, 0.40783, 0.13441],
        [0.34946, 0.57988, 0.62212, 0.2957, 0.70661, 0.67512, 0.41398],
        [0.37097, 0.41705, 0.47465, 0.53226, 0.58986, 0.64747, 0.69355],
        [0.51613, 0.2765, 0.27189, 0.70968, 0.41014, 0.553, 0.90323],
    ],
    (1, 3, 8, 3): [
        [0.57895, 0.57852, 0.57767, 0.56324, 0.53523, 0.52122],
        [0.47312, 0.4422, 0.38038, 0.40457, 0.51478, 0.56989],
        [0.46689, 0.43039, 0.35739, 0.3455, 0.39474, 0.41935],
    ],
}


class TestResizing:
    @pytest.mark.parametrize(("box", "expected"), TORCHVISION.items(), ids=map(str, TORCHVISION))
    def test_figures_are_torchvisions(self, box, expected):
        i, j = np.mgrid[:12, :10]
        image = ((7 * i + 13 * j + i * j) % 32 / 31).astype("float32")[None, ..., None]
        out = resize_boxes(image, [box], np.shape(expected))
        np.testing.assert_allclose(out[0, ..., 0], expected, atol=1e-5)

    @pytest.mark.parametrize(
        "sizes",
        [((32, 32), (32, 32)), ((20, 30), (7, 50)), ((64, 64), (24, 24)), ((9, 9), (1, 1))],
        ids=str,
    )
    def test_every_box_is_pillows(self, sizes):
        size, new_size = sizes
        rng = np.random.RandomState(0)
        images = rng.rand(20, *size, 1).astype("float32")
        sides = np.stack([rng.randint(1, side + 1, 20) for side in size])
        corners = [rng.randint(0, side - s + 1) for side, s in zip(size, sides, strict=True)]
        boxes = np.stack([*corners, *sides], axis=1)
        resized = resize_boxes(images, boxes, new_size)
        for image, (top, left, height, width), ours in zip(images, boxes, resized, strict=True):
            crop = Image.fromarray(image[top : top + height, left : left + width, 0])
            expected = crop.resize(new_size[::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(ours[..., 0], expected, atol=5e-6)

    @pytest.mark.parametrize("old_and_new", [(192, 96), (224, 112), (128, 100), (224, 96)], ids=str)
    def test_a_crop_that_spans_a_side_has_no_black_edge(self, old_and_new):
        """In an earlier version, 32 of 600 pairs of sizes gave a black last row or column."""
        old, new = old_and_new
        boxes = [(0, 0, old, old), (0, 5, old, old - 9), (3, 0, old - 7, old)]
        out = resize_boxes(tf.ones((3, old, old, 1)), boxes, (new, new))
        np.testing.assert_allclose(out, 1, atol=1e-6)

    def test_an_enlarged_crop_shows_all_of_its_area(self):
        """An earlier version showed 0.84 of 9 in 32 pixels: from center to center of corners."""
        ramp = np.arange(32, dtype="float32")[None, None, :, None] * np.ones(
            (1, 32, 1, 1), "float32"
        )
        row = resize_boxes(ramp, [(4, 11, 9, 9)], (32, 32))[0, 0, :, 0].numpy()
        steps = np.diff(row)[4:-4]  # At the edges, the outermost pixels are repeated.
        np.testing.assert_allclose(32 * steps, 9, rtol=1e-4)
        assert row.mean() == pytest.approx(15, abs=1e-4)

    def test_a_reduced_image_is_antialiased(self):
        """In an earlier version, the mean difference to Pillow on noise was 0.126."""
        noise = np.random.RandomState(0).rand(1, 224, 224, 1).astype("float32")
        expected = Image.fromarray(noise[0, ..., 0]).resize((96, 96), Image.Resampling.BILINEAR)
        crop = data.RandomResizedCrop((96, 96), (1.0, 1.0), (1.0, 1.0))
        for out in (crop(noise, seed=(0, 0)), crop(noise, training=False)):
            assert np.abs(out[0, ..., 0] - np.asarray(expected)).mean() < 1e-6


class TestCrop:
    def test_areas_and_ratios_are_those_asked_for(self):
        # Images whose channels are the coordinates: a crop shows which part it is of.
        n, size = 2000, 65
        line = np.linspace(0, 1, size)
        ramp = np.stack(np.meshgrid(line, line, indexing="ij"), -1)[None].repeat(n, 0)
        out = data.RandomResizedCrop(scale=(0.2, 0.6), ratio=(0.75, 4 / 3))(ramp, seed=(0, 0))
        heights = (out[:, -1, 0, 0] - out[:, 0, 0, 0]).numpy()
        widths = (out[:, 0, -1, 1] - out[:, 0, 0, 1]).numpy()
        # Between the centers of the corner pixels: a pixel less than the crop's side, which is a
        # whole number: half a pixel of 25, the shortest side, is 2 % of each side.
        heights, widths = (heights * 64 + 1) / 65, (widths * 64 + 1) / 65
        area, ratio = heights * widths, widths / heights
        assert area.min() > 0.19 and area.max() < 0.61
        assert area.mean() == pytest.approx(0.4, abs=0.02)
        assert 0.75 * 0.98**2 < ratio.min() < 0.76 and 1.32 < ratio.max() < 4 / 3 / 0.98**2
        assert np.log(ratio).mean() == pytest.approx(0, abs=0.02)
        tops = out[:, 0, 0, 0].numpy() / (1 - heights + 1e-9)
        assert tops.mean() == pytest.approx(0.5, abs=0.03)

    def test_the_whole_image_is_itself(self):
        images = _photo(3)
        out = data.RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))(images, seed=(0, 0))
        np.testing.assert_array_equal(out, data.to_unit_floats(images))

    @pytest.mark.parametrize("size", [(5, 7), [5, 7], np.array([5, 7])], ids=repr)
    def test_size(self, size):
        layer = data.RandomResizedCrop(size)
        assert layer.size == (5, 7)
        assert layer(_photo(3), seed=(0, 0)).shape == (3, 5, 7, 3)
        assert layer(_photo(3), training=False).shape == (3, 5, 7, 3)
        assert layer.compute_output_shape((None, 12, 12, 3)) == (None, 5, 7, 3)


class TestJitter:
    def test_brightness_scales(self):
        images = np.full((500, 4, 4, 3), 0.4, "float32")
        out = data.RandomColorJitter(0.5, 0, 0, 0, probability=1.0)(images, seed=(0, 0)).numpy()
        factors = out[:, 0, 0, 0] / 0.4
        assert 0.5 <= factors.min() < 0.55 and 1.45 < factors.max() <= 1.5 + 1e-6

    def test_contrast_keeps_the_mean_luma(self):
        images = (_photo(8) / 255.0 * 0.2 + 0.4).astype("float32")
        out = data.RandomColorJitter(0, 0.5, 0, 0, probability=1.0)(images, seed=(0, 0)).numpy()
        luma = [0.299, 0.587, 0.114]
        np.testing.assert_allclose(
            (out @ luma).mean((1, 2)), (images @ luma).mean((1, 2)), atol=1e-5
        )
        assert np.abs(out.std((1, 2)) - images.std((1, 2))).max() > 1e-3

    def test_hue_and_saturation_keep_the_luma_and_leave_gray_alone(self):
        layer = data.RandomColorJitter(0, 0, 0.5, 0.5, probability=1.0)
        images = (_photo(8) / 255.0 * 0.2 + 0.4).astype("float32")
        luma = [0.299, 0.587, 0.114]
        out = layer(images, seed=(0, 0)).numpy()
        np.testing.assert_allclose(out @ luma, images @ luma, atol=1e-4)
        assert np.abs(out - images).max() > 0.05
        gray = np.repeat(images[..., :1], 3, axis=-1)
        np.testing.assert_allclose(layer(gray, seed=(0, 0)), gray, atol=1e-5)

    def test_zero_saturation_factor_is_grayscale(self):
        # Strength 1 draws factors from [0, 2]; the least saturated of many is nearly gray.
        images = np.repeat(_photo(1) / 255.0 * 0.5 + 0.25, 2000, axis=0)
        out = data.RandomColorJitter(0, 0, 1.0, 0, probability=1.0)(images, seed=(0, 0)).numpy()
        grayest = out[np.ptp(out, axis=-1).mean((1, 2)).argmin()]
        expected = data.RandomGrayscale(1.0)(images[:1], seed=(0, 0)).numpy()[0]
        np.testing.assert_allclose(grayest, expected, atol=5e-3)


@pytest.mark.parametrize("size", [(1, 28), (28, 1), (1, 1), (7, 40)], ids=str)
@pytest.mark.parametrize("name", data.POLICIES)
def test_images_of_any_proportions(name, size):
    images = np.random.RandomState(0).randint(0, 256, (4, *size, 3), "uint8")
    for view in data.policy(name)(images, seed=(0, 0)):
        assert view.shape == images.shape and np.isfinite(view).all()


def test_a_model_with_augmentations_inside_saves_and_loads(tmp_path):
    inputs = keras.layers.Input((12, 12, 3), dtype="uint8")
    model = keras.Sequential([inputs, data.byol((8, 8), seed=1).view_1, keras.layers.Flatten()])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(_photo(2), verbose=0).shape, (2, 192))


def test_two_views_takes_no_probability():
    with pytest.raises(TypeError, match="`TwoViews` takes no `probability`"):
        data.TwoViews(data.RandomFlip(), probability=0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.Compose(data.RandomFlip()), "`augmentations` must be a list"),
        (lambda: data.Compose([keras.layers.Flatten()]), "`augmentations` must be keras_ssl"),
        (lambda: data.TwoViews(keras.layers.Flatten()), "`view_1` must be"),
        (lambda: data.TwoViews(data.RandomFlip(), "flip"), "`view_2` must be.*'flip'"),
    ],
    ids=["one", "list", "view_1", "view_2"],
)
def test_only_augmentations_are_composed(make, message):
    with pytest.raises(TypeError, match=message):
        make()


class TestOthers:
    def test_flip(self):
        images = _photo(2)
        out = data.RandomFlip(1.0)(images, seed=(0, 0))
        np.testing.assert_allclose(out, images[:, :, ::-1] / 255.0, atol=1e-6)

    def test_grayscale(self):
        out = data.RandomGrayscale(1.0)(_photo(2), seed=(0, 0)).numpy()
        expected = _photo(2) / 255.0 @ [0.299, 0.587, 0.114]
        np.testing.assert_allclose(out, expected[..., None].repeat(3, -1), atol=1e-5)

    def test_solarize(self):
        images = np.array([0.0, 0.4, 0.6, 1.0], "float32").reshape(1, 2, 2, 1)
        out = data.RandomSolarize(1.0)(images, seed=(0, 0)).numpy().ravel()
        np.testing.assert_allclose(out, [0.0, 0.4, 0.4, 0.0], atol=1e-6)

    def test_blur_is_scipys_away_from_the_borders(self):
        from scipy.ndimage import gaussian_filter

        images = _photo(1, size=41, channels=1) / 255.0
        out = data.RandomGaussianBlur((1.5, 1.5), 1.0)(images, seed=(0, 0)).numpy()
        expected = gaussian_filter(images[0, ..., 0], 1.5, truncate=8)
        np.testing.assert_allclose(out[0, 12:-12, 12:-12, 0], expected[12:-12, 12:-12], atol=1e-4)

    def test_blur_keeps_constant_images(self):
        images = np.full((2, 8, 6, 3), 0.7, "float32")
        np.testing.assert_allclose(
            data.RandomGaussianBlur(probability=1.0)(images, seed=(0, 0)), images, atol=1e-5
        )

    def test_compose_is_one_after_the_other(self):
        flip, solarize = data.RandomFlip(1.0), data.RandomSolarize(1.0)
        out = data.Compose([flip, solarize])(_photo(2), seed=(0, 0))
        np.testing.assert_allclose(
            out, solarize(flip(_photo(2), seed=(0, 0)), seed=(0, 0)), atol=1e-6
        )


class TestPolicies:
    @pytest.mark.parametrize("name", data.POLICIES)
    def test_two_different_views(self, name):
        views = data.policy(name, size=(8, 8))(_photo(6), seed=(0, 0))
        assert [v.shape for v in views] == [(6, 8, 8, 3)] * (20 if name == "multi_patch" else 2)
        assert np.abs(views[0] - views[1]).max() > 0.01

    def test_multi_patch_has_many_quarters_of_an_image(self):
        policy = data.multi_patch(count=3)
        assert len(policy.views) == 3
        crop, _, jitter, gray, blur, solarize = policy.views[0].augmentations
        assert (crop.scale, crop.ratio) == ((0.25, 0.25), (1.0, 1.0))
        strengths = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        assert strengths == (0.4, 0.4, 0.4, 0.2)
        assert (gray.probability, blur.probability, solarize.probability) == (0.2, 0.1, 0.1)
        with pytest.raises(ValueError, match="`count` must be two or more"):
            data.multi_patch(count=1)

    def test_byol_has_the_probabilities_of_table_s1(self):
        policy = data.byol()
        blur = [v.augmentations[4].probability for v in (policy.view_1, policy.view_2)]
        solarize = [v.augmentations[5].probability for v in (policy.view_1, policy.view_2)]
        assert blur == [1.0, 0.1] and solarize == [0.0, 0.2]
        for view in (policy.view_1, policy.view_2):
            crop, flip, jitter, gray, blur, _ = view.augmentations
            assert crop.probability == 1.0 and crop.scale == (0.08, 1.0)
            assert (flip.probability, gray.probability, jitter.probability) == (0.5, 0.2, 0.8)
            strengths = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
            assert strengths == (0.4, 0.4, 0.2, 0.1)
            assert blur.sigma == (0.1, 2.0)

    def test_inference_gives_the_images(self):
        images = _photo(2)
        for view in data.simclr()(images, training=False):
            np.testing.assert_allclose(view, images / 255.0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.RandomFlip(1.5), r"`probability`.*\[0, 1\].*1.5"),
        (lambda: data.RandomFlip(seed=-1), "`seed`.*whole number from 0.*seed=-1"),
        (lambda: data.RandomFlip(seed=1.5), "`seed`.*whole number from 0.*seed=1.5"),
        (lambda: data.RandomResizedCrop(8), "`size`.*two whole numbers.*size=8"),
        (lambda: data.RandomResizedCrop((8,)), r"`size`.*two whole numbers.*size=\(8,\)"),
        (lambda: data.RandomResizedCrop("88"), "`size`.*two whole numbers.*size='88'"),
        (lambda: data.RandomResizedCrop((8.0, 8.0)), "`size`.*size=8.0"),
        (lambda: data.RandomResizedCrop((0, 8)), "`size`.*size=0"),
        (lambda: data.byol((8, -1)), "`size`.*size=-1"),
        (lambda: data.policy_for((28, 28)), r"`image_shape`.*\(28, 28\)"),
        (lambda: data.RandomResizedCrop(scale=(0, 1)), "`scale`"),
        (lambda: data.RandomResizedCrop(scale=(0.5, 2)), "`scale`.*at most 1.0"),
        (lambda: data.RandomResizedCrop(ratio=(2, 1)), "`ratio`.*low <= high"),
        (lambda: data.RandomResizedCrop(ratio=1.0), "`ratio`.*two numbers"),
        (lambda: data.RandomColorJitter(hue=0.6), "`hue`.*0.5"),
        (lambda: data.RandomColorJitter(brightness=-1), "`brightness`"),
        (lambda: data.RandomGaussianBlur((0.0, 1.0)), "`sigma`"),
        (lambda: data.RandomSolarize(threshold=2), "`threshold`"),
        (lambda: data.policy("strong"), "`policy`.*byol.*tiny_gray.*'strong'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class TestStrength:
    @pytest.mark.parametrize("name", data.POLICIES)
    def test_one_is_the_policy_itself(self, name):
        views = [policy(_photo(6), seed=(0, 0)) for policy in _policies(name, 1.0)]
        np.testing.assert_array_equal(views[0][0], views[1][0])

    @pytest.mark.parametrize("name", data.POLICIES)
    @pytest.mark.parametrize("strength", [0.0, 1.8])
    def test_any_other_is_not(self, name, strength):
        views = [policy(_photo(6), seed=(0, 0)) for policy in _policies(name, strength)]
        assert np.abs(views[0][0] - views[1][0]).max() > 0.01

    @pytest.mark.parametrize("name", data.POLICIES)
    def test_bad_strength(self, name):
        with pytest.raises(ValueError, match="`strength` must be"):
            data.policy(name, strength=-1)

    def test_a_crop_must_leave_something(self):
        with pytest.raises(ValueError, match=r"`strength` must be in \[0, 1.8\] for `weak`"):
            data.weak(strength=2)

    def test_what_fits_images(self):
        shapes = [(28, 28, 1), (32, 32, 3), (224, 224, 3), (224, 224, 1)]
        names = ["tiny_gray", "simclr_cifar", "byol", "byol"]
        assert [data.policy_for(shape) for shape in shapes] == names


def _policies(name, strength):
    return data.policy(name), data.policy(name, strength=strength)


def test_pairs_are_no_parts_of_others():
    for make in (lambda: data.Compose([data.weak()]), lambda: data.TwoViews(data.weak())):
        with pytest.raises(TypeError, match="that make one view"):
            make()
