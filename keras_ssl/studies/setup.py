"""What the figures of a study depend on, and what needs no training: lines of its report."""

import collections
from collections.abc import Iterable

import keras
import keras_tuner

from keras_ssl import data, evaluation, runs
from keras_ssl.hypermodels import PretrainingHyperModel
from keras_ssl.recipes import Recipe
from keras_ssl.studies.identity import name_of
from keras_ssl.studies.plan import ARM, CONFIRM, DRAW, SEARCH, STAGE
from keras_ssl.studies.results import Results
from keras_ssl.studies.study import Study


def setup_of(study: Study, results: Results, source: object) -> dict[str, str]:
    """Returns the `setup` of `studies.write_report`: images, encoder, training, score, budget.

    It judges raw pixels and the untrained encoder, if there are test images to do it with.

    Args:
        study: The study, which has run.
        results: What it found.
        source: What its images are called.

    Example:
        Of a study that has run no trial yet.

        >>> import tempfile
        >>> from keras_ssl import recipes
        >>> images = data.hold_out(data.load("digits"))
        >>> recipe = recipes.SMALL["simclr"].for_images(images.train.image_shape, epochs=20)
        >>> arms = {"simclr": PretrainingHyperModel(recipe, images)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = Study(folder, arms, trials=20)
        >>> setup = setup_of(study, Results([], "knn", ["simclr"]), "digits")
        >>> for name in ("images", "training"):
        ...     print(setup[name])
        digits: 1149 to train on, 288 to choose by, 360 to judge by
        20 epochs of batches of 128, adamw, policy tiny_gray
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
            setup["for comparison"] = "; ".join(
                f"{name} kNN {100 * found['knn']:.1f}, linear {100 * found['linear']:.1f}"
                for name, found in baselines(arms[0], images.train, images.test).items()
            )
    return setup


def _once_each(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _training(recipe: Recipe) -> str:
    size = f", views of {recipe.view_size} px" if recipe.view_size else ""
    optimizer = name_of(recipe.optimizer)
    return (
        f"{recipe.epochs} epochs of batches of {recipe.batch_size}, {optimizer}, policy "
        f"{recipe.policy}{size}"
    )


def _budget(results: Results, seeds: int) -> str:
    """Says how many runs there were, failed ones and those of an earlier call included."""

    def most(stage: str) -> int:
        runs = {(row[ARM], row[DRAW]) for row in results.rows if row[STAGE] == stage}
        return max(collections.Counter(arm for arm, _ in runs).values(), default=0)

    finalists = f"{seeds} more seeds for the {most(CONFIRM)} best; " if most(CONFIRM) else ""
    return (
        f"{most(SEARCH)} draws per arm, of which the first is the defaults; {finalists}then "
        f"{seeds} seeds each for the defaults and the best draw"
    )


def baselines(
    arm: PretrainingHyperModel, train: data.ImageSet, test: data.ImageSet
) -> dict[str, dict[str, float]]:
    """Returns the accuracies of raw pixels and of an arm's untrained encoder, by their names."""
    keras.utils.set_random_seed(arm.seed)
    encoder = arm.build_encoder(keras_tuner.HyperParameters())
    return {
        "raw pixels": evaluation.judge_raw_pixels(train, test)[0],
        "the untrained encoder": evaluation.judge(encoder, train, test, label_free=False),
    }
