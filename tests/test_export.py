"""Exported encoders give what Keras gives, say what they take, and are whole or not there."""

import functools
import json
import logging
import math
import pathlib
import re
import subprocess
import sys
import typing
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssl import data, encoders, exporting, runs
from keras_ssl.commands.export import export
from keras_ssl.exporting import FORMATS
from keras_ssl.exporting.contract import Contract
from tests.conftest import lora_encoder, tiny_encoder

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# Each needs packages of its own; without them, its tests are skipped.
ALL_IMAGE_FORMATS = ("saved_model", "onnx", "litert", "safetensors")


def _packages(name):
    for module in FORMATS[name].packages:
        pytest.importorskip(module)


def _trained(encoder):
    """Gives every weight a value of its own, as training does."""
    rng = np.random.RandomState(1)
    for weight in encoder.weights:
        noise = rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path else 0
        weight.assign(noise if "variance" in weight.path else weight + rng.randn(*weight.shape) / 8)
    return encoder


def _wide_range_encoder():
    """An encoder that wants [0, 255], and gets it from a layer in front, as EfficientNet does."""
    images = keras.layers.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.05] * 3)(x)
    x = keras.layers.Conv2D(4, 3)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return encoders.as_encoder(keras.Model(images, x, name="wide"))


@keras.saving.register_keras_serializable(package="tests")
class _TwoUnnamed(keras.layers.Layer):
    """A layer whose inner layers have no names of their own."""

    def build(self, shape):
        self.flatten, self.wide, self.last = (
            keras.layers.Flatten(),
            keras.layers.Dense(4),
            keras.layers.Dense(4),
        )
        self.wide.build((None, math.prod(shape[1:])))
        self.last.build((None, 4))

    def call(self, x):
        return self.last(self.wide(self.flatten(x)))


def _any_size_encoder():
    return _trained(encoders.resnet((None, None, 1), blocks=(1,), width=4))


def _mixed_encoder():
    keras.config.set_dtype_policy("mixed_float16")
    encoder = encoders.as_encoder(tiny_encoder())
    keras.config.set_dtype_policy("float32")
    return _trained(encoder)


def _unit_encoder():
    images = keras.layers.Input((8, 8, 1), name=encoders.UNIT_INPUT)
    x = keras.layers.Dense(4)(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.UnitNormalization()(x), name="unit")


ENCODERS = {
    "plain": lambda: _trained(encoders.as_encoder(tiny_encoder())),
    "range": _wide_range_encoder,
    "any size": _any_size_encoder,
    "mixed": _mixed_encoder,
    "unit": _unit_encoder,
}


def _images(encoder, count=5):
    _, height, width, channels = encoder.input_shape
    shape = (count, height or 12, width or 12, channels)
    return data.from_arrays(np.random.RandomState(0).randint(0, 256, shape).astype("uint8"))


@functools.cache
def _pixels(shape=(5, 8, 8, 1)):
    return np.random.RandomState(2).uniform(size=shape).astype("float32")


# --- Every format --------------------------------------------------------------------------------


def test_the_command_names_all_formats():
    names = typing.get_args(typing.get_type_hints(export)["format"])
    assert names == tuple(FORMATS)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("format", ALL_IMAGE_FORMATS)
def test_it_gives_what_keras_gives(format, kind, tmp_path):
    _packages(format)
    encoder = ENCODERS[kind]()
    done = export(encoder, tmp_path / "out", format=format, images=_images(encoder), quiet=True)
    assert done.path.exists() and done.difference < 1e-5
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"contract.json", "README.md", done.path.name} <= files
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    contract = json.loads((tmp_path / "out" / "contract.json").read_text())
    assert contract == json.loads(json.dumps(done.contract))
    shape = contract["input"]["shape"]
    assert shape[1] == ("any" if kind == "any size" else 8) and shape[3] == (
        3 if kind == "range" else 1
    )
    assert contract["output"]["l2_normalized"] == (kind == "unit")
    assert ("difference_to_the_precision_of_training" in contract["check"]) == (kind == "mixed")
    if kind == "range":
        assert "[0, 255]" in contract["input"]["scaling_inside"]


@pytest.mark.slow
@pytest.mark.parametrize("format", ALL_IMAGE_FORMATS)
def test_the_page_runs_a_resnet_by_itself(format, tmp_path):
    """Each program of docs/export.md, in a process of its own, on real digits."""
    _packages(format)
    encoder = _trained(encoders.resnet8((8, 8, 1)))
    done = export(encoder, tmp_path / "out", format=format, images="digits", quiet=True)
    digits, _ = next(iter(data.load("digits").train.batches(7)))
    np.save(tmp_path / "out" / "images.npy", digits)
    (code,) = (block for block in BLOCKS if f'"{done.path.name}"' in block)
    code += "\nimport sys\nnp.save('got.npy', representations)\n"
    code += "print(json.dumps([contract, 'keras' in sys.modules]))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    contract, has_keras = json.loads(ran.stdout.splitlines()[-1])
    assert contract.items() <= done.contract.items()
    if format in ("onnx", "litert"):
        assert not has_keras
    got = np.load(tmp_path / "out" / "got.npy")
    wanted = np.asarray(encoder(digits, training=False))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_the_page_brings_a_photo_to_its_size_as_training_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    waves = np.sin(np.arange(300)[:, None] / 20) * np.cos(np.arange(200) / 30)
    pixels = np.stack([127 + 120 * waves, 127 - 90 * waves, 60 + 30 * waves], -1)
    Image.fromarray(pixels.astype("uint8")).save("photo.jpg", quality=95)
    namespace = {}
    exec(BLOCKS[0], namespace)
    ours, _ = next(iter(data.load(tmp_path, labels=False).train.batches(1)))
    assert namespace["images"].shape == ours.shape
    np.testing.assert_allclose(namespace["images"], ours, rtol=0, atol=0.03)


@pytest.mark.parametrize("format", ALL_IMAGE_FORMATS)
def test_a_lora_is_merged(format, tmp_path):
    _packages(format)
    adapted, sums = lora_encoder()
    wanted = adapted.predict(_pixels(), verbose=0)
    done = export(
        adapted,
        tmp_path / "out",
        format=format,
        images=_images(adapted),
        tolerance=1e-6,
        quiet=True,
    )
    got = FORMATS[format].run(adapted, tmp_path / "out", _pixels())
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    np.testing.assert_array_equal(adapted.predict(_pixels(), verbose=0), wanted)
    if format == "safetensors":
        from safetensors.numpy import load_file

        kernels = {k.split("/")[-2]: v for k, v in load_file(done.path).items() if "kernel" in k}
        assert set(kernels) == set(sums)
        for name, kernel in kernels.items():
            np.testing.assert_allclose(kernel, sums[name], rtol=1e-5, atol=1e-6)


# --- Inside the files ----------------------------------------------------------------------------


def test_the_contract_is_inside(tmp_path):
    encoder = ENCODERS["plain"]()
    done = export(encoder, tmp_path / "out", images=_images(encoder), quiet=True)
    inside = json.loads((done.path / "assets.extra" / "contract.json").read_text())
    assert inside["input"]["range"] == [0.0, 1.0] and inside.items() <= done.contract.items()


def test_onnx_names_its_batch_and_its_contract(tmp_path):
    _packages("onnx")
    import onnx

    encoder = ENCODERS["range"]()
    done = export(encoder, tmp_path / "out", format="onnx", images=_images(encoder), quiet=True)
    model = onnx.load(done.path)
    (takes,), (returns,) = model.graph.input, model.graph.output
    assert (takes.name, returns.name) == ("images_from_0_to_1", "representations")
    assert takes.type.tensor_type.shape.dim[0].dim_param == "batch"
    (prop,) = model.metadata_props
    assert json.loads(prop.value)["input"]["layout"] == "NHWC"


def test_litert_has_its_contract(tmp_path):
    _packages("litert")
    encoder = ENCODERS["plain"]()
    done = export(encoder, tmp_path / "out", format="litert", images=_images(encoder), quiet=True)
    assert "input" in json.loads(zipfile.ZipFile(done.path).read("contract.json"))


class TestSafetensors:
    @pytest.fixture
    def folder(self, tmp_path):
        _packages("safetensors")
        encoder = ENCODERS["plain"]()
        export(encoder, tmp_path / "out", format="safetensors", images=_images(encoder), quiet=True)
        return tmp_path / "out", encoder

    def test_the_loaded_encoder_is_the_same(self, folder):
        path, encoder = folder
        again = exporting.load_safetensors(path)
        for a, b in zip(encoder.weights, again.weights, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("file", ["", "model.safetensors"])
    def test_the_folder_is_an_encoder_like_any_other(self, folder, file, monkeypatch):
        path, encoder = folder
        again = encoders.load_encoder(path / file)
        wanted = encoder.predict(_pixels(), verbose=0)
        np.testing.assert_array_equal(again.predict(_pixels(), verbose=0), wanted)
        assert encoders.find_range(again, (8, 8, 1)) == encoders.find_range(encoder, (8, 8, 1))
        # Its config.json is not that of a run.
        assert runs.scaling_of(path / file) is None
        second = path.parent / "second"
        done = export(path / file, second, format="safetensors", smoke=True, quiet=True)
        assert done.difference == 0 and "Nothing is known" in (second / "README.md").read_text()
        with pytest.raises(ValueError, match="`weights` must be left out"):
            encoders.load_encoder(path, weights="imagenet")
        monkeypatch.setitem(sys.modules, "safetensors", None)
        with pytest.raises(ValueError, match="pip install safetensors"):
            encoders.load_encoder(path / file)

    def test_the_numbers_of_measurements_are_inside(self, tmp_path):
        _packages("safetensors")
        encoder, pairs = ENCODERS["plain"](), [[0.0, 4000.0]]
        out = tmp_path / "out"
        exporting.write_folder(encoder, out, "safetensors", _pixels(), "5", numbers=pairs)
        assert runs.scaling_of(out) == runs.scaling_of(out / "model.safetensors") == pairs
        export(out, tmp_path / "again", format="safetensors", smoke=True, quiet=True)
        assert runs.scaling_of(tmp_path / "again") == pairs
        assert "Numbers from 0 to 4000 became 0 to 1" in (out / "README.md").read_text()

    def test_a_config_of_something_else(self, folder):
        path, _ = folder
        (path / "config.json").write_text('{"class_name": "Nothing", "config": {}}')
        with pytest.raises(ValueError, match="config.json is damaged. Export the encoder again"):
            encoders.load_encoder(path)

    def test_weights_of_the_same_path_are_all_kept(self, tmp_path):
        _packages("safetensors")
        parts = [tiny_encoder(), tiny_encoder()]
        images = keras.layers.Input((8, 8, 1), name=encoders.UNIT_INPUT)
        for number, part in enumerate(parts):
            part.name = f"part_{number}"
            for layer, one in zip(part.layers, parts[0].layers, strict=True):
                layer.name = one.name
        x = keras.layers.Add()([part(images) for part in parts])
        encoder = _trained(keras.Model(images, x, name="twins"))
        out = tmp_path / "out"
        export(encoder, out, format="safetensors", images=_images(encoder), quiet=True)
        again = exporting.load_safetensors(out)
        assert len(again.weights) == len(encoder.weights) == 12
        for a, b in zip(encoder.weights, again.weights, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_layers_whose_names_keras_chooses_when_it_builds_them(self, tmp_path):
        _packages("safetensors")
        encoder = keras.Sequential([keras.Input((8, 8, 1)), _TwoUnnamed()])
        encoder = _trained(encoders.as_encoder(encoder, (0, 1)))
        out = tmp_path / "out"
        export(encoder, out, format="safetensors", images=_images(encoder), quiet=True)
        again = exporting.load_safetensors(out)
        assert [w.path for w in again.weights] != [w.path for w in encoder.weights]
        for a, b in zip(encoder.weights, again.weights, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("damage", ["missing", "cut", "other"])
    def test_damaged_files(self, folder, damage):
        path, _ = folder
        file = path / "model.safetensors"
        if damage == "missing":
            file.unlink()
        elif damage == "cut":
            file.write_bytes(file.read_bytes()[:-40])
        else:
            from safetensors.numpy import save_file

            save_file({"other": np.zeros(3)}, file)
        with pytest.raises(ValueError, match="model.safetensors"):
            exporting.load_safetensors(path)

    def test_a_folder_without_a_config(self, tmp_path):
        _packages("safetensors")
        with pytest.raises(ValueError, match="config.json cannot be read"):
            exporting.load_safetensors(tmp_path)


class TestKerasHub:
    def test_a_backbone(self, tmp_path):
        keras_hub = pytest.importorskip("keras_hub")
        backbone = keras_hub.models.ResNetBackbone(
            [64], [3], [64], [1], [1], "basic_block", image_shape=(16, 16, 3)
        )
        encoder = encoders.as_encoder(_trained(backbone), (0, 255))
        out = tmp_path / "out"
        done = export(encoder, out, format="keras_hub", images=_images(encoder), quiet=True)
        assert done.difference < 1e-5 and "wants, [0, 255]" in done.contract["note"]
        loaded = keras_hub.models.Backbone.from_preset(str(done.path))
        for a, b in zip(backbone.weights, loaded.weights, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_another_encoder(self, tmp_path):
        pytest.importorskip("keras_hub")
        with pytest.raises(ValueError, match="one KerasHub backbone.*'tiny' with 0"):
            export(ENCODERS["plain"](), tmp_path / "out", format="keras_hub", quiet=True)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["", "saved_model"])
def test_what_keras_cannot_load_says_what_can_be_loaded(tmp_path, part):
    encoder = ENCODERS["plain"]()
    export(encoder, tmp_path / "out", images=_images(encoder), quiet=True)
    with pytest.raises(ValueError, match="load the run or the .keras file.*as safetensors.*Saved"):
        encoders.load_encoder(tmp_path / "out" / part)


def test_an_exported_preset_says_where_it_is(tmp_path):
    contract = {"format": "KerasHub preset", "file": "preset"}
    (tmp_path / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(ValueError, match="`encoder` must be the preset inside.*preset. It needs"):
        encoders.load_encoder(tmp_path)
    (tmp_path / "contract.json").write_text("[]")
    with pytest.raises(ValueError, match="`encoder` must be one of.*exported as safetensors"):
        encoders.load_encoder(tmp_path)


# --- The model card and a run --------------------------------------------------------------------


def _run(path, source="digits"):
    encoder = ENCODERS["plain"]()
    with_config = {
        "options": {"source": source, "seed": 3, "smoke": False, "image_size": None},
        "recipe": {"model": "SimCLR", "epochs": 20, "batch_size": 256},
        "encoder": "tiny",
        "data": {"training": "1437 of 8x8x1, abc"},
        "versions": {"keras": "3.15.1"},
    }
    folder = runs.RunFolder(path)
    folder.write_json("config.json", with_config)
    folder.write_json("results.json", {"trained": {"knn": 0.912, "linear": 0.934}})
    folder.save_encoder(encoder)
    return path


@pytest.mark.parametrize("file", ["", "encoder.keras"])
def test_a_run_is_checked_on_its_images_and_told_in_the_card(tmp_path, file):
    out = tmp_path / "out"
    done = export(_run(tmp_path / "run") / file, out, quiet=True)
    assert done.contract["check"]["images"] == "32 images of digits"
    card = (out / "README.md").read_text()
    front, title = card.split("---\n")[1], "# tiny, trained by SimCLR on digits"
    assert "library_name: keras\n" in front and '- "simclr"\n' in front
    for text in (title, "91.2 %", "- epochs: 20", "- seed: 3", "8 x 8 pixels", "tf.saved_model"):
        assert text in card
    assert "not l2-normalized" in card


def test_a_card_says_what_was_trained_and_judged(tmp_path):
    """After Ctrl-C, on other images, from an encoder in a file."""
    run = _run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["encoder"] = "/home/me/private/encoder.keras"
    config["options"]["evaluate_on"] = "../secret/labeled"
    (run / "config.json").write_text(json.dumps(config))
    (run / "metrics.csv").write_text("epoch,loss\n0,3.0\n1,2.0\n")
    export(run, tmp_path / "out", quiet=True)
    card = (tmp_path / "out" / "README.md").read_text()
    for text in ("- epochs: 2 of 20", "- encoder: encoder.keras", "On other images (labeled)"):
        assert text in card
    assert "private" not in card and "secret" not in card
    (run / "results.json").write_text('{"trained": {"rankme": 12.0}}')
    export(run, tmp_path / "again", quiet=True)
    assert "Without labels: `rankme`" in (tmp_path / "again" / "README.md").read_text()


def test_a_run_whose_images_are_gone_is_checked_on_random_ones(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run = _run(tmp_path / "run", str(tmp_path / "secret" / "photos"))
    done = export(run, tmp_path / "out", smoke=True)
    assert done.contract["check"]["images"] == "4 random images"
    assert "images cannot be read, so random ones are used" in caplog.text
    card = (tmp_path / "out" / "README.md").read_text()
    assert "SimCLR on photos" in card and "secret" not in card


@pytest.mark.parametrize("images", [None, "digits"])
def test_a_run_on_an_object_of_python(images, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run = _run(tmp_path / "run", {"python": "keras_ssl.data.image_set.ImageSet"})
    done = export(run, tmp_path / "out", images=images, smoke=True)
    expected = "4 images of digits" if images else "4 random images"
    assert done.contract["check"]["images"] == expected
    assert "# tiny\n" in (tmp_path / "out" / "README.md").read_text()


def test_an_encoder_without_a_run(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    export(ENCODERS["plain"](), tmp_path / "out", smoke=True)
    assert "No images were given" in caplog.text
    assert "the largest difference is" in caplog.text
    assert "Nothing is known of the training" in (tmp_path / "out" / "README.md").read_text()


def test_the_contract_knows_unit_length():
    encoder = ENCODERS["plain"]()
    rows = np.eye(3, dtype="float32")
    assert Contract.of(encoder, rows).l2_normalized
    assert not Contract.of(encoder, 1.01 * rows).l2_normalized


# --- What is refused -----------------------------------------------------------------------------


def _refused(tmp_path, match, encoder=None, **call):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=match):
        export(encoder or ENCODERS["plain"](), call.pop("out", tmp_path / "a" / "b"), **call)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_gives_nan_for_one_image_alone(tmp_path, monkeypatch):
    def run(self, encoder, folder, x):
        return exporting.formats.represent(encoder, x) * (np.nan if len(x) == 1 else 1)

    _packages("safetensors")
    monkeypatch.setattr(type(FORMATS["safetensors"]), "run", run)
    _refused(tmp_path, "differ by nan of the largest", format="safetensors")


def test_a_file_that_differs_from_keras(tmp_path, monkeypatch):
    format = FORMATS["saved_model"]
    monkeypatch.setattr(
        type(format),
        "run",
        lambda self, encoder, folder, x: exporting.formats.represent(encoder, x) * 1.01,
    )
    _refused(tmp_path, "as TensorFlow SavedModel as in Keras.*differ by 1.0e-02 of the largest")


def test_a_file_that_returns_another_shape(tmp_path, monkeypatch):
    monkeypatch.setattr(
        type(FORMATS["saved_model"]), "run", lambda self, encoder, folder, x: np.zeros((1, 1))
    )
    _refused(tmp_path, "differ by inf")


def test_an_encoder_that_the_converter_refuses(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such op\nand a long trace")

    monkeypatch.setattr(keras.Model, "export", fail)
    _refused(tmp_path, "can hold and run.*RuntimeError: no such op$")


@pytest.mark.parametrize("name", ["onnx", "litert", "safetensors", "keras_hub"])
def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch, name):
    module, pip = next(iter(FORMATS[name].packages.items()))
    monkeypatch.setitem(sys.modules, module, None)
    _refused(tmp_path, f"`format` '{name}' .*pip install {pip}", format=name)


def test_an_unknown_format(tmp_path):
    _refused(tmp_path, "`format` must be one of .*'onnx'", format="h5")


def test_an_encoder_of_something_else(tmp_path):
    table = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3)])
    _refused(tmp_path, "`encoder` must take images", table)


def test_an_encoder_that_gives_nan(tmp_path):
    encoder = ENCODERS["plain"]()
    encoder.weights[0].assign(np.full(encoder.weights[0].shape, np.nan))
    _refused(tmp_path, "finite representations", encoder)


def test_images_of_another_size(tmp_path):
    _refused(tmp_path, "Images must fit the encoder", images=_images(_wide_range_encoder()))


def test_images_that_are_not_there(tmp_path):
    _refused(tmp_path, "`source`", images=str(tmp_path / "nowhere"))


def test_no_encoder(tmp_path):
    _refused(tmp_path, "`encoder` must be a run.* it is not there", tmp_path / "nowhere.keras")


def test_a_tolerance_that_is_none(tmp_path):
    _refused(tmp_path, "`tolerance` must be a positive number", tolerance=0)


@pytest.mark.parametrize("kind", ["a file", "a folder with files"])
def test_an_output_that_holds_something(tmp_path, kind):
    out = tmp_path / "out"
    if kind == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    _refused(tmp_path, f"`out` must be a new folder.*{kind}", out=out)


def test_an_empty_output_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert export(ENCODERS["plain"](), tmp_path / "out", smoke=True, quiet=True).path.is_dir()


def test_an_encoder_that_keras_cannot_rebuild_stays_in_its_precision():
    class Odd(keras.layers.Layer):
        def __init__(self, number, **kwargs):
            super().__init__(**kwargs)

        def call(self, x):
            return x

    images = keras.layers.Input((8, 8, 1))
    x = Odd(3, dtype="mixed_float16")(images)
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x), name="odd")
    with pytest.raises(ValueError, match="rebuild from its config.*'odd'"):
        exporting.in_float32(model)


def test_float32_is_left_alone():
    encoder = ENCODERS["plain"]()
    assert exporting.in_float32(encoder) is encoder
    mixed = ENCODERS["mixed"]()
    plain = exporting.in_float32(mixed)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    np.testing.assert_allclose(
        plain(_pixels(), training=False), mixed(_pixels(), training=False), atol=0.02
    )
