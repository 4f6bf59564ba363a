"""Which images a run trains on, and which it is judged by."""

import dataclasses

import numpy as np
import pytest

from keras_ssl import data, recipes
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


def test_what_cannot_be_written_is_refused_at_once():
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], optimizer=lambda rate, decay: None)
    unnamed = Options(**{**vars(options("nowhere")), "method": recipe})
    with pytest.raises(ValueError, match="`optimizer` must be registered"):
        prepare(unnamed)
