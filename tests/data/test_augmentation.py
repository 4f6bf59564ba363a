import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data

LAYERS = {
    "crop": lambda **k: data.RandomResizedCrop(**k),
    "flip": lambda **k: data.RandomFlip(**k),
    "jitter": lambda **k: data.RandomColorJitter(**k),
    "grey": lambda **k: data.RandomGreyscale(**k),
    # From sigma 1 on: near 0.1 a blur changes nothing.
    "blur": lambda **k: data.RandomGaussianBlur((1.0, 2.0), **k),
    "solarize": lambda **k: data.RandomSolarize(**k),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def _photo(n=1, size=12, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (n, size, size, channels), "uint8")


def _same_photo(n=400, **kwargs):
    return np.repeat(_photo(**kwargs), n, axis=0)


@every_layer
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16"])
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


@every_layer
def test_xla_repeats_under_a_seed_or_keras_is_told_that_it_cannot(name):
    """XLA makes other draws of a seed than eager TensorFlow does."""
    images = tf.constant(_photo(4))
    layer = LAYERS[name](probability=0.5)
    if not layer.supports_jit:
        assert name == "crop"
        return
    compiled = tf.function(lambda x, s: layer(x, seed=s), jit_compile=True)
    first, second = (compiled(images, tf.constant([0, 5])).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.min() >= 0 and first.max() <= 1 + 1e-6
    others = [compiled(images, tf.constant([0, i])).numpy() for i in range(6, 12)]
    assert any(np.abs(other - first).max() > 0 for other in others)


@every_layer
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


class TestCrop:
    def test_areas_and_ratios_are_those_asked_for(self):
        # Images whose channels are the coordinates: a crop shows which part it is of.
        n, size = 2000, 65
        line = np.linspace(0, 1, size)
        ramp = np.stack(np.meshgrid(line, line, indexing="ij"), -1)[None].repeat(n, 0)
        out = data.RandomResizedCrop(scale=(0.2, 0.6), ratio=(0.75, 4 / 3))(ramp, seed=(0, 0))
        heights = (out[:, -1, 0, 0] - out[:, 0, 0, 0]).numpy()
        widths = (out[:, 0, -1, 1] - out[:, 0, 0, 1]).numpy()
        # Between the centres of the corner pixels: a pixel less than the crop's side.
        heights, widths = (heights * 64 + 1) / 65, (widths * 64 + 1) / 65
        area, ratio = heights * widths, widths / heights
        assert area.min() > 0.19 and area.max() < 0.61
        assert area.mean() == pytest.approx(0.4, abs=0.02)
        assert ratio.min() > 0.74 and ratio.max() < 1.35
        assert np.log(ratio).mean() == pytest.approx(0, abs=0.02)
        tops = out[:, 0, 0, 0].numpy() / (1 - heights + 1e-9)
        assert tops.mean() == pytest.approx(0.5, abs=0.03)

    def test_the_whole_image_is_itself(self):
        images = _photo(3)
        out = data.RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))(images, seed=(0, 0))
        np.testing.assert_allclose(out, images / 255.0, atol=1e-5)

    def test_size(self):
        layer = data.RandomResizedCrop((5, 7))
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

    def test_hue_and_saturation_keep_the_luma_and_leave_grey_alone(self):
        layer = data.RandomColorJitter(0, 0, 0.5, 0.5, probability=1.0)
        images = (_photo(8) / 255.0 * 0.2 + 0.4).astype("float32")
        luma = [0.299, 0.587, 0.114]
        out = layer(images, seed=(0, 0)).numpy()
        np.testing.assert_allclose(out @ luma, images @ luma, atol=1e-4)
        assert np.abs(out - images).max() > 0.05
        grey = np.repeat(images[..., :1], 3, axis=-1)
        np.testing.assert_allclose(layer(grey, seed=(0, 0)), grey, atol=1e-5)

    def test_zero_saturation_factor_is_greyscale(self):
        # Strength 1 draws factors from [0, 2]; the least saturated of many is nearly grey.
        images = np.repeat(_photo(1) / 255.0 * 0.5 + 0.25, 2000, axis=0)
        out = data.RandomColorJitter(0, 0, 1.0, 0, probability=1.0)(images, seed=(0, 0)).numpy()
        greyest = out[np.ptp(out, axis=-1).mean((1, 2)).argmin()]
        expected = data.RandomGreyscale(1.0)(images[:1], seed=(0, 0)).numpy()[0]
        np.testing.assert_allclose(greyest, expected, atol=5e-3)


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


class TestOthers:
    def test_flip(self):
        images = _photo(2)
        out = data.RandomFlip(1.0)(images, seed=(0, 0))
        np.testing.assert_allclose(out, images[:, :, ::-1] / 255.0, atol=1e-6)

    def test_greyscale(self):
        out = data.RandomGreyscale(1.0)(_photo(2), seed=(0, 0)).numpy()
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
        pair = data.policy(name, size=(8, 8))(_photo(6), seed=(0, 0))
        assert [v.shape for v in pair] == [(6, 8, 8, 3)] * 2
        assert np.abs(pair[0] - pair[1]).max() > 0.01

    def test_byol_has_the_probabilities_of_table_s1(self):
        policy = data.byol()
        blur = [v.augmentations[4].probability for v in (policy.view_1, policy.view_2)]
        solarize = [v.augmentations[5].probability for v in (policy.view_1, policy.view_2)]
        assert blur == [1.0, 0.1] and solarize == [0.0, 0.2]
        for view in (policy.view_1, policy.view_2):
            crop, flip, jitter, grey, blur, _ = view.augmentations
            assert crop.probability == 1.0 and crop.scale == (0.08, 1.0)
            assert (flip.probability, grey.probability, jitter.probability) == (0.5, 0.2, 0.8)
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
        (lambda: data.RandomResizedCrop(scale=(0, 1)), "`scale`"),
        (lambda: data.RandomResizedCrop(scale=(0.5, 2)), "`scale`.*at most 1.0"),
        (lambda: data.RandomResizedCrop(ratio=(2, 1)), "`ratio`.*low <= high"),
        (lambda: data.RandomResizedCrop(ratio=1.0), "`ratio`.*two numbers"),
        (lambda: data.RandomColorJitter(hue=0.6), "`hue`.*0.5"),
        (lambda: data.RandomColorJitter(brightness=-1), "`brightness`"),
        (lambda: data.RandomGaussianBlur((0.0, 1.0)), "`sigma`"),
        (lambda: data.RandomSolarize(threshold=2), "`threshold`"),
        (lambda: data.policy("strong"), "`policy`.*byol.*tiny_grey.*'strong'"),
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
        names = ["tiny_grey", "simclr_cifar", "byol", "byol"]
        assert [data.policy_for(shape) for shape in shapes] == names


def _policies(name, strength):
    return data.policy(name), data.policy(name, strength=strength)
