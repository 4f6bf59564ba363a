"""What the figures of a study depend on, and what needs no training: lines of its report."""

from collections.abc import Iterable

import keras
import keras_tuner

from keras_ssl import data, evaluation, runs
from keras_ssl.hypermodels import PretrainingHyperModel
from keras_ssl.recipes import Recipe
from keras_ssl.studies.identity import name_of
from keras_ssl.studies.results import Results
from keras_ssl.studies.study import Study


def setup_of(study: Study, results: Results, source: object) -> dict[str, str]:
    """Returns the `setup` of `studies.write_report`: images, encoder, training, score, budget.

    It judges raw pixels and the untrained encoder, if there are test images to do it with.

    Args:
        study: The study, which has run.
        results: What it found.
        source: What its images are called.
    """
    arms = list(study.arms.values())
    images = arms[0].images
    test = f", {len(images.test)} to judge by" if images.test else ""
    setup = {
        "images": f"{source}: {len(images.train)} to train on, {len(images.validation)} to choose "
        f"by{test}",
        "encoder": _once_each(str(name_of(arm.encoder)) for arm in arms),
        "training": _once_each(_training(arm.recipe) for arm in arms),
        "score": f"{results.score} of the last epoch",
        "budget": _budget(results, study.seeds),
    }
    if images.test is not None and images.test.has_labels:
        with runs.stage("judging raw pixels and the untrained encoder"):
            setup["for comparison"] = _baselines(arms[0], images)
    return setup


def _once_each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _training(recipe: Recipe) -> str:
    size = f", views of {recipe.view_size} px" if recipe.view_size else ""
    return (
        f"{recipe.epochs} epochs of batches of {recipe.batch_size}, {name_of(recipe.optimizer)}, "
        f"policy {recipe.policy}{size}"
    )


def _budget(results: Results, seeds: int) -> str:
    """Says how many runs there were, also those of an earlier call that asked for more."""
    draws = max(len(arm.searched) for arm in results.arms.values())
    confirmed = max(len(arm.confirmed) for arm in results.arms.values())
    finalists = f"{seeds} more seeds for the {confirmed} best; " if confirmed else ""
    return (
        f"{draws} draws per arm, of which the first is the defaults; {finalists}then {seeds} seeds "
        "each for the defaults and the best draw"
    )


def _baselines(arm: PretrainingHyperModel, images: data.HeldOut) -> str:
    """Says what raw pixels and the untrained encoder of an arm reach on the test images, in %."""
    keras.utils.set_random_seed(arm.seed)
    encoder = arm.build_encoder(keras_tuner.HyperParameters())
    pixels, _ = evaluation.judge_raw_pixels(images.train, images.test)
    untrained = evaluation.judge(encoder, images.train, images.test, label_free=False)
    return "; ".join(
        f"{name} kNN {100 * figures['knn']:.1f}, linear {100 * figures['linear']:.1f}"
        for name, figures in (("raw pixels", pixels), ("the untrained encoder", untrained))
    )
