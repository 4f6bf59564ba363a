"""A picture of the figures of a run over its epochs."""

import os

from keras_ssl._files import save_figure
from keras_ssl._text import drawing, legend
from keras_ssl.runs.metrics_log import read_metrics

_PANELS = ("loss", "terms, unweighted", "accuracy", "effective rank")


def draw_curves(metrics: str | os.PathLike[str], picture: str | os.PathLike[str]) -> bool:
    """Draws the loss, its terms, the accuracies and the effective rank over the epochs.

    Args:
        metrics: The CSV file of a `MetricsLog`.
        picture: The picture to write, such as "curves.png".

    Returns:
        Whether there was anything to draw.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in read_metrics(metrics):
        for name, value in row.items():
            if name != "epoch":
                curves.setdefault(name, []).append((int(row["epoch"]) + 1, float(value)))
    panels: dict[str, list[str]] = {panel: [] for panel in _PANELS}
    for name in curves:
        panel = _panel(name)
        if panel is not None:
            panels[panel].append(name)
    panels = {panel: names for panel, names in panels.items() if names}
    if not panels:
        return False

    from matplotlib.figure import Figure  # pyplot would change how a notebook shows others.

    with drawing():  # Names are text, not formulas.
        figure = Figure(figsize=(5 * len(panels), 4))
        axes = figure.subplots(1, len(panels), squeeze=False)
        for axis, (panel, names) in zip(axes[0], panels.items(), strict=True):
            lines = [axis.plot(*zip(*curves[name], strict=True), marker=".")[0] for name in names]
            if panel.startswith("terms") and min(v for n in names for _, v in curves[n]) > 0:
                axis.set_yscale("log")  # They differ by orders of magnitude.
                axis.yaxis.set_major_formatter("{x:g}")
            axis.set(title=panel, xlabel="epoch")
            axis.grid(alpha=0.3)
            legend(axis, lines, names)
        figure.tight_layout()
        save_figure(figure, picture, dpi=100)
    return True


def _panel(name: str) -> str | None:
    """The panel to which a figure belongs, or `None`."""
    if name.endswith(("knn", "linear", "probe_accuracy")):
        return "accuracy"
    if name.endswith(("rankme", "lidar")):
        return "effective rank"
    if name == "loss":
        return "loss"
    return None if name.startswith(("learning_rate", "probe_loss", "val_")) else "terms, unweighted"
