"""What is wrong with a run, in words: each illness is one function of the course of the run.

The thresholds are ours; no paper gives them. They are set so that illnesses produced on purpose are
found, and healthy runs of every method on five seeds get no diagnosis
(tests/callbacks/test_doctor.py).

A method need not belong to the paper's two families. What a check or a remedy says about a
criterion is therefore what the criterion says about itself: `Criterion.attractive`, `equal_views`,
`variance_terms` and `settings_against_collapse`.
"""

import dataclasses
import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_ssl import replicas
from keras_ssl._keras import all_layers, unscaled
from keras_ssl.inspection.sample import Inspection, whole_groups

# Where diagnoses are among the events of a run: as text for people, and as data for the report.
TEXT, RECORD = "doctor/diagnosis", "doctor/record"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """An illness, the evidence for it, and what to do.

    Args:
        name: The illness, such as "complete collapse".
        finding: The evidence, with figures.
        remedy: What to try.
        heals: Whether more training may heal it. `False` for a collapse, among others.

    Example:
        >>> from keras_ssl import models
        >>> from keras_ssl.inspection import Sample
        >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> model, view = models.VICReg(encoder, projector="4"), np.eye(8, dtype="float32")
        >>> inspection = Sample.of((view, view)).inspect(model)
        >>> diagnosis = diagnose(Course(model, inspection, inspection))[0]
        >>> diagnosis.name, diagnosis.heals
        ('identical views', True)
    """

    name: str
    finding: str
    remedy: str
    heals: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.finding} {self.remedy}"


@dataclasses.dataclass
class Course:
    """The course of a run so far.

    Args:
        model: The `JointEmbeddingModel`.
        first: The first inspection of the run, of the untrained model if the run is new.
        latest: The latest inspection.
        logs: The latest logs of `fit`.
        first_logs: The logs of the first step that had any.
        steps: Steps done.

    Example:
        >>> from keras_ssl import models
        >>> from keras_ssl.inspection import Sample
        >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> model, view = models.VICReg(encoder, projector="4"), np.eye(8, dtype="float32")
        >>> inspection = Sample.of((view, view)).inspect(model)
        >>> course = Course(model, inspection, inspection, logs={"loss": math.nan})
        >>> course.is_finite, course.has_trained
        (False, False)
    """

    model: Any
    first: Inspection
    latest: Inspection
    logs: dict[str, float] = dataclasses.field(default_factory=dict)
    first_logs: dict[str, float] = dataclasses.field(default_factory=dict)
    steps: int = 0

    @property
    def has_trained(self) -> bool:
        """Whether `latest` shows a later model than `first`."""
        return self.steps > 0 and self.latest is not self.first

    @property
    def is_finite(self) -> bool:
        """Whether all logs and all embeddings are finite."""
        return all(map(math.isfinite, self.logs.values())) and self.latest.is_finite


def learning_rate(optimizer: Any) -> float | None:
    """The current learning rate, or `None` for an optimizer that has none."""
    rate = getattr(unscaled(optimizer), "learning_rate", None)
    return None if rate is None else float(keras.ops.convert_to_numpy(rate))


def not_finite(course: Course) -> Diagnosis | None:
    """A logged figure or an embedding is NaN or infinite."""
    if course.is_finite:
        return None
    weights = course.model.criterion.weights
    broken = [name for name, value in course.logs.items() if not math.isfinite(value)]
    terms = [name for name in weights if name in broken]
    if not broken or len(terms) == len(weights):
        what = "all embeddings or all terms of the criterion"
    else:
        what = ", ".join(terms or broken)
        intact = ", ".join(name for name in weights if name not in broken)
        what += f" (still finite: {intact})" if intact else ""
    figures = ", ".join(f"{name}={value:.4g}" for name, value in course.logs.items())
    remedy = "Lower the learning rate or give it a warm-up. "
    if "float16" in course.model.dtype_policy.name.replace("bfloat16", ""):
        remedy += "Try mixed_bfloat16, which has the range of float32. "
    return Diagnosis(
        "not finite",
        f"After {course.steps} steps some values are NaN or infinite: {what}. Logs: {figures}.",
        f"{remedy}Check that the views are finite and in the range that the encoder expects.",
        heals=False,
    )


def _equal_images(course: Course) -> str | None:
    """Describes the first two views that are equal in at least half of the images, or `None`."""
    latest = course.latest
    for (i, a), (j, b) in itertools.combinations(enumerate(latest.views), 2):
        if not all(isinstance(view, np.ndarray) for view in (a, b)) or a.shape != b.shape:
            continue  # Views of two sizes, or dictionaries of arrays.
        if not all(view.dtype.kind in "fiub" for view in (a, b)):
            continue  # Texts, for example.
        if a.dtype.kind in "iub":  # The difference of unsigned numbers would wrap around.
            a, b = a.astype(np.float64), b.astype(np.float64)
        axes = tuple(range(1, a.ndim))
        differences = np.abs(a - b).mean(axis=axes)  # (N,)
        # Of different images. Their range would not do: mostly empty images differ in few places.
        scale = float(np.abs(a - np.roll(a, 1, axis=0)).mean())
        same = float(np.mean(differences <= scale / 64))
        if same >= 0.5 and not _encoder_draws(latest, i, j):
            return (
                f"Views {i + 1} and {j + 1} are the same in {100 * same:.0f} % of the images (their"
                f" mean difference is {differences.mean():.2g}, that of different images "
                f"{scale:.2g})"
            )
    return None


def _encoder_draws(inspection: Inspection, i: int, j: int) -> bool:
    """Whether exactly equal views have different representations, for example by dropout."""
    if max(i, j) >= len(inspection.representations):
        return False
    is_equal = np.all(
        inspection.views[i] == inspection.views[j], axis=tuple(range(1, inspection.views[i].ndim))
    )
    r_1, r_2 = (inspection.representations[k][is_equal] for k in (i, j))
    return r_1.shape != r_2.shape or not np.allclose(
        r_1, r_2, rtol=1e-2, atol=1e-2 * np.abs(r_1).max(initial=0)
    )


def _has_equal_embeddings(course: Course) -> bool:
    """Whether the criterion's terms show that the views trained on, not the sample's, are equal."""
    equal, logs = course.model.criterion.equal_views, course.logs
    is_equal = bool(equal) and all(
        math.isclose(logs.get(name, math.nan), value, rel_tol=1e-6) for name, value in equal.items()
    )
    return is_equal and not (complete_collapse(course) or dimensional_collapse(course))


def identical_views(course: Course) -> Diagnosis | None:
    """The augmentations change nothing."""
    finding = _equal_images(course)
    if finding is None and _has_equal_embeddings(course):
        finding = "The embeddings of the two views of a training batch are equal to the last digit"
    if finding is None:
        return None
    return Diagnosis(
        "identical views",
        f"{finding}: the augmentations do nothing.",
        "Two equal views teach the encoder nothing. Look at the views. Check that images and "
        "augmentations use one range, [0, 1] or bytes, that the augmentations have probabilities "
        "above zero, and that the data set does not yield one view twice.",
    )


def _spread(z: np.ndarray) -> float:
    """Returns the part of the squared length of z, (N, M), that differs from image to image."""
    return float(np.sum(z.var(axis=0)) / max(np.mean(np.sum(z**2, axis=1)), 1e-300))


def _participation(singular_values: np.ndarray) -> float:
    """Computes the participation ratio of the covariance's eigenvalues: 1 if only one is not 0."""
    eigenvalues = singular_values**2
    return float(eigenvalues.sum() ** 2 / max(np.sum(eigenvalues**2), 1e-300))


def _changes(course: Course, factor: Any) -> bool:
    """Whether the criterion changes when the embeddings are multiplied by a factor, (N, 1) or 1."""
    criterion, pair = course.model.criterion, course.latest.pairs[0]
    size = criterion.group_size
    with replicas.alone():
        terms, terms_of_longer = (
            criterion.measure(*(whole_groups(f * z, size) for z in pair))
            for f in (1.0, np.float32(factor))
        )
    return any(
        not math.isclose(float(terms[name]), float(terms_of_longer[name]), rel_tol=1e-3)
        for name in terms
    )


def _depends_on_size(course: Course) -> bool:
    """Whether the criterion changes when all embeddings are twice as long."""
    return _changes(course, 2.0)


def _depends_on_lengths(course: Course) -> bool:
    """Whether the criterion sees more than directions; a cosine does not."""
    is_odd = np.arange(len(course.latest.pairs[0][0])) % 2
    # Powers of two: others round, which terms near 0 show.
    return _changes(course, np.where(is_odd, 2, 1)[:, None])


def _default(criterion: Any, name: str) -> str:
    """The default of a setting in words, if its constructor has one."""
    parameter = inspect.signature(type(criterion)).parameters.get(name)
    default = getattr(parameter, "default", None)
    return f" (its default is {default:g})" if isinstance(default, (int, float)) else ""


def _settings(criterion: Any, directions: dict[str, str]) -> str:
    """Names settings that the criterion has, such as "raise `covariance_weight` (1.0)"."""
    config = criterion.get_config()
    return ", ".join(
        f"{direction} `{name}` ({config[name]})"
        for name, direction in directions.items()
        if name in config
    )


def _repulsive(criterion: Any) -> list[str]:
    """The names of the terms that push embeddings apart."""
    return [name for name in criterion.weights if name not in criterion.attractive]


def _is_held_apart_by_the_model(criterion: Any) -> bool:
    """Whether nothing in the criterion holds embeddings apart, as in BYOL and SimSiam."""
    return not _repulsive(criterion) and not criterion.settings_against_collapse


def _hold_apart(course: Course) -> str:
    """Describes what keeps the embeddings of this method apart, and what to check in it."""
    criterion = course.model.criterion
    in_the_model = (
        "a predictor, a teacher or a stop-gradient. Check that no gradient reaches the targets, "
        "that the predictor is trained, and that a teacher follows slowly (a momentum near 1)."
    )
    if _is_held_apart_by_the_model(criterion):
        return f"No term of the criterion holds embeddings apart; the model must: {in_the_model}"
    repulsive = _repulsive(criterion)
    if repulsive and not criterion.attractive:
        return (
            "Check the weight of the term of the criterion that holds embeddings apart. If there "
            f"is none, the model must hold them apart: {in_the_model}"
        )
    directions, config = criterion.settings_against_collapse, criterion.get_config()
    off = [name for name in directions if directions[name] == "raise" and config.get(name) == 0]
    if off:
        names = " and ".join(f"`{name}`{_default(criterion, name)}" for name in off)
        return f"Raise {names}: a weight of 0 turns off a term that holds embeddings apart."
    settings = _settings(criterion, directions)
    if settings:
        return f"Change the criterion's settings: {settings}."
    return f"Check what the criterion needs to hold embeddings apart ({', '.join(repulsive)})."


def complete_collapse(course: Course) -> Diagnosis | None:
    """All images have one embedding."""
    latest, first = course.latest, course.first
    size, size_before = (
        inspection.figures["spread/rms_of_embeddings"] for inspection in (latest, first)
    )
    spread, on_sphere = _spread(latest.embeddings[0]), _spread(latest.unit[0])
    # An untrained deep network without batch normalization may be like this, and may still learn.
    is_one = spread <= min(1e-3, 1.05 * _spread(first.embeddings[0]))
    if not is_one and on_sphere <= min(1e-3, 1.05 * _spread(first.unit[0])):
        # A cosine cannot tell apart embeddings that differ only in length.
        spread, is_one = on_sphere, not _depends_on_lengths(course)
    is_small = size < min(1e-2, 0.1 * size_before)
    if not course.has_trained or not (is_one or (is_small and _depends_on_size(course))):
        return None
    cosine = course.latest.figures["pairs/negative_mean"]
    return Diagnosis(
        "complete collapse",
        f"All images have nearly the same embedding: {100 * spread:.2g} % of its squared length "
        f"differs from image to image, the mean cosine of different images is {cosine:.4f}."
        if is_one
        else f"The embeddings have shrunk to nearly nothing: their root mean square is {size:.2g}; "
        f"it was {size_before:.2g} when the run began.",
        f"{_hold_apart(course)} Lower the learning rate, and begin again from a checkpoint before "
        "the collapse: more training does not undo it.",
        heals=False,
    )


def _directions(values: np.ndarray) -> int:
    """Counts the directions that embeddings use."""
    return int(np.sum(values > 1e-3 * values[0]))


def _has_few_directions(course: Course, spectrum: str) -> bool:
    """Whether a spectrum, an attribute of the latest inspection, has hardly any directions."""
    values, before = (getattr(inspection, spectrum) for inspection in (course.latest, course.first))
    # Healthy methods have at least 1.9, however few dimensions they use; collapsed ones below 1.2.
    # If only the model holds embeddings apart, they begin with few directions, and find more: BYOL
    # has been seen at 1.23 while it learned.
    limit = 1.1 if _is_held_apart_by_the_model(course.model.criterion) else 1.5
    has_one = _participation(values) <= min(limit, 1.05 * _participation(before))
    # Healthy methods use at least half of the directions.
    return len(values) >= 16 and (has_one or _directions(values) <= 0.05 * len(values))


def dimensional_collapse(course: Course) -> Diagnosis | None:
    """The embeddings lie in a few directions."""
    if not course.has_trained or complete_collapse(course) is not None:
        return None
    spectra = ("singular_values", "singular_values_of_unit")  # A cosine sees the latter.
    ill = [name for name in spectra if _has_few_directions(course, name)]
    # This is asked last, because it takes longest.
    if not ill or (seen := spectra[not _depends_on_lengths(course)]) not in ill:
        return None
    values = getattr(course.latest, seen)
    highest, directions = len(values), _directions(values)
    share = 100 * values[0] ** 2 / np.sum(values**2)
    return Diagnosis(
        "dimensional collapse",
        f"The embeddings use {directions} of {highest} directions, one of which has {share:.0f} % "
        f"of their variance (participation ratio {_participation(values):.2f}).",
        f"Most dimensions follow from a few others. {_hold_apart(course)} Check that no layer "
        "between the encoder and the criterion is a bottleneck.",
        heals=False,
    )


def _positive_above_negative(representations: Any) -> float:
    """Computes for representations how often a positive pair is closer than a negative one."""
    if len(representations) < 2 or representations[0].shape != representations[1].shape:
        return math.nan
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import normalize

    r_1, r_2 = (normalize(r - r.mean(axis=0)) for r in representations[:2])
    return float(roc_auc_score(np.eye(len(r_1), dtype=bool).ravel(), (r_1 @ r_2.T).ravel()))


def _by_chance(inspection: Inspection) -> float:
    """How often positive pairs may be closer than negative ones if views have nothing in common.

    One half and three standard errors of Mann and Whitney's statistic, whose variance is
    1 / (12 N) for N positive pairs among many more negative ones.
    """
    return 0.5 + max(0.05, 3 / math.sqrt(12 * len(inspection.unit[0])))


def unrelated_views(course: Course) -> Diagnosis | None:
    """Two views of an image are no closer than views of two images."""
    before, chance = (
        inspection.figures["pairs/positive_above_negative"]
        for inspection in (course.first, course.latest)
    )
    had_learned = before > 0.65
    limit = 0.6 if had_learned else min(0.6, _by_chance(course.latest))
    if not course.has_trained or chance > min(limit, before + 0.15):
        return None
    if complete_collapse(course) is not None or dimensional_collapse(course) is not None:
        return None  # After a collapse, this figure means nothing.
    finding = (
        f"Two views of one image are closer than views of two images in only {100 * chance:.0f} % "
        f"of all cases (50 % is chance; it was {100 * before:.0f} % when the run began)."
    )
    if had_learned:
        return Diagnosis(
            "learning undone",
            finding,
            "The views do share something, for the model told them apart before. Either a collapse "
            "is under way, or the learning rate is far too high. Lower the learning rate. "
            f"{_hold_apart(course)}",
            heals=False,
        )
    # A predictor first has to learn which prediction belongs to which target. Until then, the
    # representations tell whether the views share anything.
    if _positive_above_negative(course.latest.representations) > limit:
        return None
    return Diagnosis(
        "views share nothing",
        finding,
        "The augmentations destroy what the images show, or the views come from different images. "
        "Look at the views. Try weaker augmentations (for images, the policy `weak`). Check that "
        "all views are made from the same batch in the same order.",
    )


def normalized_output(course: Course) -> Diagnosis | None:
    """Batch normalization ends the projector, under a criterion that holds up deviations."""
    criterion, projector = course.model.criterion, course.model.projector
    terms = [name for name in criterion.variance_terms if criterion.weights[name] > 0]
    layers = [
        layer
        for layer in all_layers(projector, include_self=False)
        if not all_layers(layer, include_self=False)
        and not isinstance(layer, keras.layers.InputLayer)
    ]
    if not (terms and layers and isinstance(layers[-1], keras.layers.BatchNormalization)):
        return None
    last = layers[-1]
    scale = np.abs(keras.ops.convert_to_numpy(last.gamma)) if last.scale else 1.0
    # A user's model may put more layers between the projector and the criterion.
    if not np.median(np.abs(course.latest.deviations / np.maximum(scale, 1e-6) - 1)) < 0.1:
        return None
    return Diagnosis(
        "batch normalization on the last layer",
        f"The projector ends in {last.name!r}, which gives every dimension the standard deviation "
        f"of its own scale: the term {', '.join(terms)} of the criterion has nothing to do.",
        "End the projector in a plain linear layer, as keras_ssl.layers.Projector does unless "
        "`normalized`.",
    )


def dominating_term(course: Course) -> Diagnosis | None:
    """One term makes nearly all of the gradient."""
    shares = course.latest.gradient_shares
    if not course.has_trained or len(shares) < 2:
        return None
    name, share = max(shares.items(), key=lambda item: item[1])
    # A hinge that is satisfied and a weight of zero have no gradient: nothing dominates them.
    others = [other for other in shares if other != name and shares[other] > 0]
    if share < 0.99 or not others:
        return None
    criterion = course.model.criterion
    directions = {f"{name}_weight": "lower", **{f"{other}_weight": "raise" for other in others}}
    settings = _settings(criterion, directions)
    change = f"({settings}) " if settings else ""
    return Diagnosis(
        "dominating term",
        f"The term {name} (weight {criterion.weights[name]:g}) makes {100 * share:.2f} % of the "
        f"gradient at the embeddings; the rest comes from {', '.join(others)}.",
        f"Change the settings of the criterion {change}until no gradient is a hundred times "
        "another.",
    )


def blow_up(course: Course) -> Diagnosis | None:
    """The learning rate is too high: the embeddings explode, or the loss does."""
    before, after = (
        inspection.figures["spread/rms_of_embeddings"]
        for inspection in (course.first, course.latest)
    )
    grown = after / max(before, 1e-3)
    loss, first_loss = course.logs.get("loss", 0.0), course.first_logs.get("loss", 0.0)
    risen = loss / max(abs(first_loss), 1.0)
    if not course.has_trained or not ((grown > 300 and after > 10) or risen > 30):
        return None
    rate = learning_rate(course.model.optimizer)
    return Diagnosis(
        "learning rate too high",
        f"The embeddings are {grown:.3g} times as large as before training (root mean square "
        f"{after:.3g}), and the loss went from {first_loss:.4g} to {loss:.4g}"
        + ("." if rate is None else f", at a learning rate of {rate:.3g}."),
        "Divide the learning rate by ten, and let it rise over a few epochs "
        "(keras_ssl.optimizers.warmup_cosine). A `clipnorm` helps, too.",
        heals=False,
    )


def probe_without_labels(course: Course) -> Diagnosis | None:
    """The online probe never saw labels, or only one."""
    probe = course.model.probe
    if probe is None or not course.has_trained or not probe.built:
        return None
    remedy = (
        "Its accuracy means nothing. Check that batches are (views, labels), that labels are whole "
        "numbers from 0, and that the probe's learning rate is above 0; or give labeled "
        "`probe_images` to make_views."
    )
    accuracy = course.logs.get("probe_accuracy")
    kernel = keras.ops.convert_to_numpy(probe.kernel)
    bias = keras.ops.convert_to_numpy(probe.bias)
    if not kernel.any() and not bias.any():
        return Diagnosis(
            "probe without labels",
            f"After {course.steps} steps all weights of the online probe are zero: it has learned "
            "nothing.",
            remedy,
        )
    logits = course.latest.representations[0] @ kernel + bias
    classes = np.unique(logits.argmax(axis=1))
    # Of many classes, one answer for all images may be right that seldom by chance, early on.
    lowest = min(0.01, 0.2 / probe.num_classes)
    if len(classes) > 1 or accuracy is None or lowest < accuracy < 0.999:
        return None
    return Diagnosis(
        "probe without labels",
        f"The online probe gives all images the class {classes[0]}, and is right in "
        f"{100 * accuracy:.1f} % of the cases: all labels that it has seen are the same"
        + (", or not those of the data." if accuracy <= lowest else "."),
        remedy,
    )


CHECKS: tuple[Callable[[Course], Diagnosis | None], ...] = (
    not_finite,
    identical_views,
    complete_collapse,
    dimensional_collapse,
    unrelated_views,
    normalized_output,
    dominating_term,
    blow_up,
    probe_without_labels,
)
"""The checks of the doctor, in order: functions from what was seen to an illness, or None."""


def diagnose(course: Course) -> list[Diagnosis]:
    """Finds all illnesses of a run; if a value is not finite, only that, since no figure counts.

    Example:
        A projector whose weights are zero gives all images one embedding.

        >>> from keras_ssl import models
        >>> from keras_ssl.inspection import Sample
        >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> model = models.VICReg(encoder, projector="4")
        >>> sample = Sample.of(tuple(np.random.RandomState(0).rand(2, 16, 8).astype("float32")))
        >>> first = sample.inspect(model)
        >>> model.projector.set_weights([0 * weight for weight in model.projector.get_weights()])
        >>> diagnose(Course(model, first, sample.inspect(model), steps=1))[0].name
        'complete collapse'
    """
    checks = CHECKS if course.is_finite else (not_finite,)
    diagnoses = [check(course) for check in checks]
    return [diagnosis for diagnosis in diagnoses if diagnosis is not None]
