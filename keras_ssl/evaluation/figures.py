"""What the figures of an encoder are called, and how they are read: one row for each."""

from typing import NamedTuple


class Figure(NamedTuple):
    """What is said of a figure.

    Attributes:
        label: Its name in tables and pictures.
        best: Which values are good, in words.
        is_accuracy: Whether it is in [0, 1] and shown in percent.
        digits: How many are shown after the point, of other figures.
    """

    label: str
    best: str
    is_accuracy: bool = False
    digits: int = 1


# By the names that `judge` and studies have for them. Of the last four, none could tell good
# encoders from bad ones by itself (docs/inspection.md).
FIGURES = {
    "knn": Figure("kNN", "higher is better", is_accuracy=True),
    "linear": Figure("linear probe", "higher is better", is_accuracy=True),
    "probe": Figure("online probe", "higher is better", is_accuracy=True),
    "rankme": Figure("RankMe", "higher uses more directions"),
    "alpha_req": Figure("alpha-ReQ", "1 is said to be best", digits=2),
    "uniformity": Figure("uniformity", "lower is more uniform", digits=2),
    "lidar": Figure("LiDAR", "higher is said to be better"),
}
ACCURACIES = tuple(name for name, figure in FIGURES.items() if figure.is_accuracy)
