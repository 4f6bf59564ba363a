"""Pictures of an inspection, as arrays of pixels: views, matrices, spectrum, classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from keras_ssl._text import drawing, legend
from keras_ssl.data.image_set import spread_places
from keras_ssl.data.pictures import mosaic, view_titles
from keras_ssl.inspection.sample import Inspection, Sample

# The most rows and columns of a heat map: nobody could tell more apart.
_SHOWN = 256

# In inches. TensorBoard's cards are about 350 pixels wide, where larger pictures become illegible.
# Axes have fixed places where they can: to look for the best ones takes a third of the time.
_SIZE = (4.2, 3.6)

# The most characters of a class name: the widest leave two fifths of the picture for the dots.
_LONGEST_CLASS = 24


def has_images(sample: Sample) -> bool:
    """Whether the views of a sample are images, which can be shown."""
    return all(getattr(view, "ndim", 0) == 4 for view in sample.views)


def view_grid(sample: Sample, count: int = 12) -> np.ndarray:
    """Draws images and their views, one row each with its name, as the encoder sees them.

    Args:
        sample: The sample, of images.
        count: Number of images, evenly spaced over the sample.
    """
    places = spread_places(len(sample), min(count, len(sample)))
    images = [] if sample.unaugmented is None else [sample.unaugmented]
    columns = [column[places] for column in (*images, *sample.views)]
    titles = [*(["image"] if images else []), *view_titles(len(sample.views))]
    # Two blocks side by side: a screen is wider than high.
    blocks = [
        mosaic([c[part] for c in columns], titles, [sample.captions[i] for i in places[part]])
        for part in np.array_split(np.arange(len(places)), 2)
    ]
    height = max(block.shape[0] for block in blocks)
    padded = [
        np.pad(b, ((0, height - b.shape[0]), (0, 24), (0, 0)), constant_values=255) for b in blocks
    ]
    return np.concatenate(padded, axis=1)


def gram_matrix(inspection: Inspection, labels: Any = None) -> Figure:
    """Draws cosines of samples, by class if there are labels: the duality paper's figure S8."""
    order = np.arange(len(inspection.cosines)) if labels is None else np.argsort(labels)
    order = order[:: -(-len(order) // _SHOWN)]
    by_class = "" if labels is None else ", by class"
    title = f"Gram matrix: cosines of {len(order)} samples{by_class}"
    return _heat_map(inspection.cosines[np.ix_(order, order)], title)


def correlation_matrix(inspection: Inspection) -> Figure:
    """Draws correlations of dimensions, the scaled covariance: the duality paper's figure S8."""
    z = inspection.embeddings[0][:, :_SHOWN]
    deviations = z.std(axis=0)
    z = (z - z.mean(axis=0)) / np.where(deviations > 0, deviations, 1)
    return _heat_map(z.T @ z / len(z), f"Correlations of {z.shape[1]} dimensions")


def _heat_map(matrix: np.ndarray, title: str) -> Figure:
    figure = Figure(figsize=_SIZE)
    axis = figure.add_axes((0.1, 0.07, 0.72, 0.84))
    # Values are signed, and 0 means that nothing is shared: the color map diverges from white.
    image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=9, y=1)
    axis.tick_params(labelsize=8)
    beside = figure.add_axes((0.85, 0.12, 0.04, 0.74))
    figure.colorbar(image, cax=beside).ax.tick_params(labelsize=8)
    return figure


def spectrum(inspection: Inspection) -> Figure:
    """Draws singular values on log axes, beside eigenvalues that fall as 1 / rank."""
    figure = Figure(figsize=_SIZE)
    axis = figure.add_axes((0.22, 0.13, 0.75, 0.79))
    curves = {
        "embeddings": inspection.embeddings[0],
        "representations": inspection.representations[0],
    }
    for name, x in curves.items():
        x = x - x.mean(axis=0)
        values = np.linalg.svd(x, compute_uv=False)
        values = values / max(values[0], 1e-300)
        ranks = np.arange(1, len(values) + 1)
        axis.loglog(ranks, np.maximum(values, 1e-9), marker=".", markersize=3, label=name)
    ranks = np.array([1, len(inspection.singular_values)])
    axis.loglog(ranks, ranks**-0.5, ":", color="gray", label="eigenvalues as 1 / rank (alpha = 1)")
    axis.set(
        xlabel="rank",
        ylabel="singular value / largest",
    )
    axis.set_title("Spectrum of the centered sample", fontsize=9, y=1)
    axis.minorticks_off()
    for direction in (axis.xaxis, axis.yaxis):
        # Plain numbers: typesetting 10^-1 as a formula takes half the time of the picture.
        direction.set_major_formatter("{x:g}")
    axis.grid(alpha=0.3)
    axis.set_ylim(bottom=1e-5)  # Below this, there are only rounding errors.
    axis.legend(fontsize=8, loc="lower left")
    return figure


@drawing()
def classes(inspection: Inspection, labels: Any, class_names: Any = None) -> Figure:
    """Draws two principal components of the representations, colored by class."""
    points = PCA(2, random_state=0).fit_transform(inspection.representations[0])
    figure = Figure(figsize=_SIZE, layout="constrained")
    axis = figure.subplots()
    found = np.unique(labels)
    colors = color_sequences["tab10" if len(found) <= 10 else "tab20"]
    dots = []
    for color, label in zip(colors, found, strict=False):
        chosen = labels == label
        dots.append(axis.scatter(points[chosen, 0], points[chosen, 1], s=10, color=color))
    title = "Representations, two principal components"
    if len(found) > len(colors):
        title += f"\n(first {len(colors)} of {len(found)} classes)"
    axis.set(xlabel="first component", ylabel="second")
    axis.set_title(title, fontsize=9, y=1)
    names = [class_names[label] if class_names else label for label in found[: len(dots)]]
    beside: Any = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    legend(axis, dots, names, _LONGEST_CLASS, fontsize=8, frameon=False, **beside)
    return figure


@drawing()
def pixels(figure: Figure, dpi: int = 80) -> np.ndarray:
    """Renders a figure to uint8 (height, width, 3)."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def all_pictures(sample: Sample, inspection: Inspection) -> dict[str, Callable[[], np.ndarray]]:
    """Returns functions that make each picture, by "section/name"."""
    pictures = {
        "matrices/gram": lambda: pixels(gram_matrix(inspection, sample.labels)),
        "matrices/correlation": lambda: pixels(correlation_matrix(inspection)),
        "rank/spectrum": lambda: pixels(spectrum(inspection)),
    }
    if has_images(sample):
        pictures = {"views/image_and_views": lambda: view_grid(sample), **pictures}
    if sample.labels is not None:
        pictures["classes/pca_of_representations"] = lambda: pixels(
            classes(inspection, sample.labels, sample.class_names)
        )
    return pictures
