"""Which images a run trains on, and which it is judged by."""

import dataclasses

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssl import data, neighbors, pretrain, recipes, study
from keras_ssl.data.sources import reading
from keras_ssl.data.sources.folder import check_outside
from keras_ssl.evaluation import raw_pixels
from keras_ssl.pretraining import setup as setups
from keras_ssl.pretraining.options import Options, load_images
from keras_ssl.pretraining.setup import prepare
from tests.programs import parse


def labeled(count=40, labels=True):
    pixels = np.random.RandomState(0).randint(0, 256, (count, 8, 8, 1)).astype("uint8")
    return data.from_arrays(pixels, np.arange(count) % 2 if labels else None)


def options(source, *words, began=None, evaluate_on=None):
    found = parse(["digits", *words])
    return Options(**{**vars(found), "source": source, "evaluate_on": evaluate_on, "began": began})


class TestObjects:
    @pytest.mark.parametrize("make", [labeled, lambda: data.split(labeled())])
    def test_no_labels_means_none(self, make):
        source = make()
        train, judged = load_images(options(source, "--no-labels"), None)
        assert not train.has_labels and judged.test is None
        whole = source.train if isinstance(source, data.Splits) else source
        assert len(train) == len(whole)

    def test_splits_without_a_test_part_stay_so(self):
        train, judged = load_images(options(data.Splits(labeled(), None)), None)
        assert len(train) == 40 and judged.test is None

    def test_labels_are_split(self):
        train, judged = load_images(options(labeled()), None)
        assert (len(train), len(judged.test)) == (32, 8)

    @pytest.mark.parametrize("words", [["--image-size", "16"], ["--channels", "3"]])
    def test_they_have_their_size(self, words):
        with pytest.raises(
            ValueError, match=f"`{words[0][2:].replace('-', '_')}` must be left out"
        ):
            prepare(options(labeled(), *words, "--smoke"))


class TestJudgedByOthers:
    def test_images_that_are_not_square_keep_their_shape(self, tmp_path):
        for name in ("a.npz", "b.npz"):
            pixels = np.random.RandomState(0).randint(0, 256, (20, 6, 9, 1)).astype("uint8")
            np.savez(tmp_path / name, images=pixels, labels=np.arange(20) % 2)
        given = options(str(tmp_path / "a.npz"), evaluate_on=str(tmp_path / "b.npz"))
        train, judged = load_images(given, None)
        assert train.image_shape == judged.test.image_shape == (6, 9, 1)

    def test_all_are_trained_on(self):
        train, judged = load_images(options(labeled(), evaluate_on=labeled(20)), None)
        assert len(train) == 40 and (len(judged.train), len(judged.test)) == (16, 4)

    def test_a_run_of_an_earlier_version_goes_on_as_it_began(self):
        before = options(labeled(), evaluate_on=labeled(20), began={})
        assert len(load_images(before, None)[0]) == 32
        before = options(labeled(), "--no-labels", began={})
        train, judged = load_images(before, None)
        assert len(train) == 40 and train.has_labels and judged.test is None
        since = options(labeled(), evaluate_on=labeled(20), began={"trains_on_all": True})
        assert len(load_images(since, None)[0]) == 40


def test_a_smoke_test_of_few_images_takes_smaller_batches(tmp_path):
    setup = prepare(options(labeled(40), "--smoke", "--out", str(tmp_path / "run")))
    assert setup.recipe.batch_size == 32


def test_a_smoke_test_needs_no_time(tmp_path):
    arguments = ("--smoke", "--budget", "1h", "--out", str(tmp_path / "run"))
    assert not prepare(options(labeled(40), *arguments)).can_be_timed


def test_what_cannot_be_written_is_refused_at_once():
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], optimizer=lambda rate, decay: None)
    unnamed = Options(**{**vars(options("nowhere")), "method": recipe})
    with pytest.raises(ValueError, match="`optimizer` must be registered"):
        prepare(unnamed)


def test_what_is_still_to_be_decoded_takes_time(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_DECODED_AT_ONCE", 10)
    monkeypatch.setattr(setups, "_DECODED", 5)
    for i in range(20):
        Image.new("L", (16, 16), i).save(tmp_path / f"{i}.png")
    words = ("--image-size", "8", "--no-labels", "--out", str(tmp_path.parent / "run"))
    setup = prepare(options(str(tmp_path), *words))
    assert setup.time_to_decode() > 0 and len(setup.images.to_decode()) == 15
    assert len(next(iter(setup.images.batches(20)))[0]) == 20
    assert setup.time_to_decode() == 0


def test_a_run_among_its_photos_would_become_photos(tmp_path, monkeypatch):
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: prepare(options(".", "--out", "runs/one")),
        lambda: prepare(options(".")),
        lambda: neighbors(raw_pixels((8, 8, 1)), ".", out="."),
        lambda: study("."),
    ):
        with pytest.raises(ValueError, match="`out` must not lie in the folder of the images"):
            call()
    check_outside("out", ".hidden/runs", ".")  # No image is looked for there.
    check_outside("out", tmp_path.parent / "runs", ".")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_precision_of_the_program_stays_its_own():
    keras.config.set_dtype_policy("mixed_bfloat16")
    with pytest.raises(ValueError, match="`image_size` must be left out"):
        pretrain(labeled(), image_size=16, quiet=True)
    with pytest.raises(ValueError, match="`source`"):
        pretrain("nowhere", method="vicreg", quiet=True)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


def test_a_recipe_may_have_micro_batches(tmp_path):
    recipe = dataclasses.replace(recipes.SMALL["simclr"], arguments={"micro_batch_size": 8})
    words = ("--batch-size", "16", "--out", str(tmp_path / "run"))
    given = Options(**{**vars(options(labeled(), *words)), "method": recipe})
    assert prepare(given).build_model("resnet8").micro_batch_size == 8
    given.batch_size = 20
    with pytest.raises(ValueError, match="`micro_batch_size` must divide.*20. Received: 8"):
        prepare(given)
