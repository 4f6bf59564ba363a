"""What ails a run, in plain words: each illness is one function of the course of the run.

Thresholds are set so that illnesses produced on purpose are found and healthy runs of every method
on five seeds are not (tests/callbacks/test_doctor.py). They are ours: no paper gives them.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_ssl._keras import all_layers
from keras_ssl.inspection.sample import Inspection


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """An illness, what shows it, and what to do.

    Args:
        name: The illness, such as "complete collapse".
        finding: What was seen, with figures.
        remedy: What to try.
    """

    name: str
    finding: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.finding} {self.remedy}"


@dataclasses.dataclass
class Course:
    """The course of a run, as far as it has come.

    Args:
        model: The `JointEmbeddingModel`.
        first: The first inspection of the run, of the untrained model if the run is new.
        latest: The latest inspection.
        logs: The latest logs of `fit`.
        first_logs: The logs of the first step that had any.
        steps: Steps done.
    """

    model: Any
    first: Inspection
    latest: Inspection
    logs: dict[str, float] = dataclasses.field(default_factory=dict)
    first_logs: dict[str, float] = dataclasses.field(default_factory=dict)
    steps: int = 0

    @property
    def has_trained(self) -> bool:
        """Whether `latest` is another model than `first`."""
        return self.steps > 0 and self.latest is not self.first


def learning_rate(optimizer: Any) -> float | None:
    """The learning rate of now, or `None` for an optimizer that has none."""
    rate = getattr(getattr(optimizer, "inner_optimizer", optimizer), "learning_rate", None)
    return None if rate is None else float(keras.ops.convert_to_numpy(rate))


def not_finite(course: Course) -> Diagnosis | None:
    """NaN or infinity, and the first term that turned."""
    broken = [name for name, value in course.logs.items() if not math.isfinite(value)]
    if not broken and course.latest.is_finite:
        return None
    terms = [name for name in course.model.criterion.weights if name in broken]
    if len(terms) == len(course.model.criterion.weights) or not broken:
        turned = "all terms at once: the embeddings themselves are not finite"
    elif terms:
        turned = f"{terms[0]} first"
    else:
        turned = f"{broken[0]} first, no term of the criterion"
    figures = ", ".join(f"{name}={value:.4g}" for name, value in course.logs.items())
    return Diagnosis(
        "not finite",
        f"After {course.steps} steps figures are no numbers any more, {turned} ({figures}).",
        "Lower the learning rate or give it a warm-up; with mixed_float16 try mixed_bfloat16, "
        "which has the range of float32; see that images are in [0, 1].",
    )


def identical_views(course: Course) -> Diagnosis | None:
    """Augmentations that change nothing."""
    view_1, view_2 = course.latest.views
    if view_1.shape != view_2.shape:
        return None
    differences = np.abs(view_1 - view_2).mean(axis=(1, 2, 3))
    same = float(np.mean(differences < 1 / 255))
    # What is trained on may come from elsewhere: there, equal views have equal embeddings.
    invariance, alignment = course.logs.get("invariance"), course.logs.get("alignment")
    if same >= 0.5:
        finding = (
            f"The two views are the same in {100 * same:.0f} % of the images (mean difference of "
            f"pixels {differences.mean():.2g} in [0, 1])"
        )
    elif invariance == 0 or (alignment is not None and alignment < -1 + 1e-6):
        if complete_collapse(course) is not None:
            return None
        finding = "The embeddings of the two views of a training batch are equal to the last digit"
    else:
        return None
    return Diagnosis(
        "identical views",
        f"{finding}: the augmentations do nothing.",
        "There is nothing to learn from two equal pictures. Look at the views; see that images and "
        "augmentations are of one range, [0, 1] or bytes, that the probabilities are above zero, "
        "and that the data set does not hand over one view twice.",
    )


def _spread(inspection: Inspection) -> float:
    """The part of the embeddings' squared length that differs from image to image."""
    z = inspection.embeddings[0]
    return float(np.sum(z.var(axis=0)) / max(np.mean(np.sum(z**2, axis=1)), 1e-300))


def _participation(inspection: Inspection) -> float:
    """Participation ratio of the eigenvalues of the covariance: 1 where one has it all."""
    eigenvalues = inspection.singular_values**2
    return float(eigenvalues.sum() ** 2 / max(np.sum(eigenvalues**2), 1e-300))


def complete_collapse(course: Course) -> Diagnosis | None:
    """All images have one embedding."""
    spread, spread_before = _spread(course.latest), _spread(course.first)
    size, size_before = (
        inspection.figures["spread/rms_of_embeddings"]
        for inspection in (course.latest, course.first)
    )
    # A network that begins so, a deep one without batch normalisation, may be on its way out.
    is_one = spread <= min(1e-3, 1.05 * spread_before)
    has_shrunk = size < min(1e-2, 0.1 * size_before)
    if not course.has_trained or not (is_one or has_shrunk):
        return None
    cosine = course.latest.figures["pairs/negative_mean"]
    return Diagnosis(
        "complete collapse",
        f"All images have nearly one embedding: {100 * spread:.2g} % of its squared length differs "
        f"from image to image, the mean cosine of different images is {cosine:.4f}."
        if is_one
        else f"The embeddings have shrunk to nearly nothing: their root mean square is {size:.2g}, "
        f"when the run began it was {size_before:.2g}.",
        "Nothing holds the embeddings apart: see that the weight of the repulsive term (variance, "
        "contrast, redundancy) is not too small, lower the learning rate, and begin again from a "
        "checkpoint before the collapse: it does not heal by itself.",
    )


def dimensional_collapse(course: Course) -> Diagnosis | None:
    """The embeddings lie in a few directions."""
    if not course.has_trained or complete_collapse(course) is not None:
        return None
    values = course.latest.singular_values
    highest = len(values)
    # Of healthy methods at least 1.9, however few dimensions they use; of collapsed ones below 1.2.
    participation = _participation(course.latest)
    has_one = participation <= min(1.5, 1.05 * _participation(course.first))
    # Of healthy methods, half of all or more.
    directions = int(np.sum(values > 1e-3 * values[0]))
    has_few = directions <= 0.05 * highest
    if highest < 16 or not (has_one or has_few):
        return None
    share = 100 * values[0] ** 2 / np.sum(values**2)
    return Diagnosis(
        "dimensional collapse",
        f"The embeddings use {directions} of {highest} directions, one of which has {share:.0f} % "
        f"of their variance (participation ratio {participation:.2f}).",
        "All dimensions say the same: raise the weight of what tells dimensions apart (covariance, "
        "redundancy) or lower a temperature; see that no layer of the projector is a bottleneck; a "
        "larger batch helps, too.",
    )


def unrelated_views(course: Course) -> Diagnosis | None:
    """Two views of an image are no closer than two images."""
    before, chance = (
        inspection.figures["pairs/positive_above_negative"]
        for inspection in (course.first, course.latest)
    )
    if not course.has_trained or chance > min(0.6, before + 0.15):
        return None
    if complete_collapse(course) is not None or dimensional_collapse(course) is not None:
        return None  # Nothing is to be told from what is left.
    finding = (
        f"Two views of one image are closer than views of two images in only {100 * chance:.0f} % "
        f"of all cases (50 % is chance; {100 * before:.0f} % when the run began)."
    )
    if before > 0.65:
        return Diagnosis(
            "learning undone",
            finding,
            "The views do share something, for the model told them apart before: a collapse is "
            "under way, or the learning rate is far too high. Lower it, and see that the weight of "
            "the repulsive term is not too small.",
        )
    return Diagnosis(
        "views share nothing",
        finding,
        "The augmentations destroy what the images show, or the views come from different images. "
        "Look at the views; try the policy `weak`; see that both views are made from the same "
        "batch in the same order.",
    )


def normalized_output(course: Course) -> Diagnosis | None:
    """Batch normalisation on the projector's last layer, under a criterion with a variance term."""
    criterion, projector = course.model.criterion, course.model.projector
    layers = [
        layer
        for layer in all_layers(projector, include_self=False)
        if not all_layers(layer, include_self=False)
        and not isinstance(layer, keras.layers.InputLayer)
    ]
    is_last = bool(layers) and isinstance(layers[-1], keras.layers.BatchNormalization)
    if not is_last or criterion.weights.get("variance", 0) == 0:
        return None
    if getattr(criterion, "contrast", "dimensions") != "dimensions":
        return None
    return Diagnosis(
        "batch normalisation on the last layer",
        f"The projector ends in {layers[-1].name!r}: every dimension has the standard deviation "
        "that its scale says, and the variance term of the criterion has nothing to hold up.",
        "End the projector in a bare linear layer, as keras_ssl.layers.Projector does.",
    )


def dominating_term(course: Course) -> Diagnosis | None:
    """One term makes nearly all of the gradient."""
    shares = course.latest.gradient_shares
    if not course.has_trained or len(shares) < 2:
        return None
    name, share = max(shares.items(), key=lambda item: item[1])
    # A hinge that is satisfied, or a weight of zero, has no gradient and is not dominated.
    others = ", ".join(n for n in shares if n != name and shares[n] > 0)
    if share < 0.99 or not others:
        return None
    weight = course.model.criterion.weights[name]
    return Diagnosis(
        "dominating term",
        f"The term {name} (weight {weight:g}) makes {100 * share:.2f} % of the gradient at the "
        f"embeddings; {others} hardly count.",
        f"Lower the weight of {name}, or raise the others', until no gradient is a hundred times "
        "another.",
    )


def blow_up(course: Course) -> Diagnosis | None:
    """A learning rate that is too high: the embeddings explode, or the loss does."""
    before, after = (
        inspection.figures["spread/rms_of_embeddings"]
        for inspection in (course.first, course.latest)
    )
    grown = after / max(before, 1e-3)
    loss, first_loss = course.logs.get("loss", 0.0), course.first_logs.get("loss", 0.0)
    risen = loss / max(abs(first_loss), 1.0)
    if not course.has_trained or not ((grown > 300 and after > 10) or risen > 30):
        return None
    return Diagnosis(
        "learning rate too high",
        f"The embeddings are {grown:.3g} times as large as before training (root mean square "
        f"{after:.3g}), and the loss went from {first_loss:.4g} to {loss:.4g}, at a learning rate "
        f"of {learning_rate(course.model.optimizer):.3g}.",
        "Lower it tenfold, and let it rise over a few epochs "
        "(keras_ssl.optimizers.warmup_cosine); a `clipnorm` helps, too.",
    )


def probe_without_labels(course: Course) -> Diagnosis | None:
    """An online probe that never saw labels, or only one."""
    probe = course.model.probe
    if probe is None or not course.has_trained or not probe.built:
        return None
    remedy = (
        "Its accuracy means nothing. Batches must be ((view_1, view_2), labels) with the labels of "
        "the images, whole numbers from 0; or give labelled `probe_images` to make_views."
    )
    accuracy = course.logs.get("probe_accuracy")
    kernel = keras.ops.convert_to_numpy(probe.kernel)
    bias = keras.ops.convert_to_numpy(probe.bias)
    if not kernel.any() and not bias.any():
        return Diagnosis(
            "probe without labels",
            f"After {course.steps} steps the weights of the online probe are all zero: it has "
            "learned from nothing.",
            remedy,
        )
    logits = course.latest.representations[0] @ kernel + bias
    classes = np.unique(logits.argmax(axis=1))
    if len(classes) > 1 or accuracy is None or 0.01 < accuracy < 0.999:
        return None
    return Diagnosis(
        "probe without labels",
        f"The online probe gives all images the class {classes[0]}, and is right in "
        f"{100 * accuracy:.1f} % of the cases: all labels it has seen are the same"
        + (", or no label of the data's at all." if accuracy < 0.01 else "."),
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


def diagnose(course: Course) -> list[Diagnosis]:
    """All that ails a run; where figures are not finite, that alone."""

    def found() -> Iterator[Diagnosis]:
        for check in CHECKS:
            diagnosis = check(course)
            if diagnosis is not None:
                yield diagnosis
                if check is not_finite:
                    return

    return list(found())
