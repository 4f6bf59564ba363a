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
        has_labels: Whether the images have labels.
        steps: Steps done in this run.
    """

    model: Any
    first: Inspection
    latest: Inspection
    logs: dict[str, float] = dataclasses.field(default_factory=dict)
    first_logs: dict[str, float] = dataclasses.field(default_factory=dict)
    has_labels: bool = True
    steps: int = 0

    @property
    def has_trained(self) -> bool:
        """Whether `latest` is another model than `first`."""
        return self.steps > 0 and self.latest is not self.first


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
    if same < 0.5:
        return None
    return Diagnosis(
        "identical views",
        f"The two views are the same in {100 * same:.0f} % of the images (mean difference of "
        f"pixels {differences.mean():.2g} in [0, 1]): the augmentations do nothing.",
        "There is nothing to learn from two equal pictures. Look at the views: are images and "
        "augmentations of one range, [0, 1] or bytes, and are the probabilities above zero?",
    )


def complete_collapse(course: Course) -> Diagnosis | None:
    """All images have one embedding."""
    z = course.latest.embeddings[0]
    spread = float(np.sum(z.var(axis=0)) / max(np.mean(np.sum(z**2, axis=1)), 1e-300))
    size, size_before = (
        inspection.figures["spread/rms_of_embeddings"]
        for inspection in (course.latest, course.first)
    )
    # Criteria that scale the embeddings leave their size alone; those that do not, want 1.
    has_shrunk = size < max(1e-4, 1e-2 * size_before)
    if not course.has_trained or (spread > 1e-3 and not has_shrunk):
        return None
    return Diagnosis(
        "complete collapse",
        f"All images have nearly one embedding: {100 * spread:.2g} % of its squared length differs "
        f"from image to image (root mean square {size:.2g}), the mean cosine of different images "
        f"is {course.latest.figures['pairs/negative_mean']:.4f}.",
        "Nothing holds the embeddings apart: see that the weight of the repulsive term (variance, "
        "contrast, redundancy) is not too small, lower the learning rate, and begin again from a "
        "checkpoint before the collapse: it does not heal by itself.",
    )


def dimensional_collapse(course: Course) -> Diagnosis | None:
    """The embeddings lie in a few directions."""
    eigenvalues = course.latest.singular_values**2
    if not course.has_trained or complete_collapse(course) is not None:
        return None
    highest = len(eigenvalues)
    # Of healthy methods at least 1.9, however few dimensions they use, of collapsed ones below 1.2.
    participation = float(eigenvalues.sum() ** 2 / np.sum(eigenvalues**2))
    if highest < 16 or participation > 1.5:
        return None
    return Diagnosis(
        "dimensional collapse",
        f"One of {highest} directions has {100 * eigenvalues[0] / eigenvalues.sum():.0f} % of the "
        f"variance of the embeddings (participation ratio {participation:.2f}).",
        "All dimensions say the same: raise the weight of what tells dimensions apart (covariance, "
        "redundancy) or lower a temperature; a larger batch helps, too.",
    )


def unrelated_views(course: Course) -> Diagnosis | None:
    """Two views of an image are no closer than two images."""
    before, chance = (
        inspection.figures["pairs/positive_above_negative"]
        for inspection in (course.first, course.latest)
    )
    if not course.has_trained or chance > 0.6:
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
        for layer in projector._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
        and not isinstance(layer, keras.layers.InputLayer)
    ]
    is_last = bool(layers) and isinstance(layers[-1], keras.layers.BatchNormalization)
    if not is_last or criterion.weights.get("variance", 0) == 0:
        return None
    if getattr(criterion, "matrix", "dimensions") != "dimensions":
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
    if not course.has_trained or (grown < 300 and risen < 30):
        return None
    optimizer = getattr(course.model.optimizer, "inner_optimizer", course.model.optimizer)
    return Diagnosis(
        "learning rate too high",
        f"The embeddings are {grown:.3g} times as large as before training (root mean square "
        f"{after:.3g}), and the loss went from {first_loss:.4g} to {loss:.4g}, at a learning rate "
        f"of {float(optimizer.learning_rate):.3g}.",
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
        "the images, whole numbers from 0; or give labelled `probe_images` to two_views."
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
