"""The rules that choose which of the two matrices a quantity is computed on, with their reasons."""

from typing import NamedTuple

from keras_ssl._tensors import Tensor

# "gram": the products of samples, z z^T, (N, N). "covariance": those of dimensions, z^T z, (M, M).
SIDES = ("auto", "gram", "covariance")

# The side by the axis that products sum over: products of dimensions sum over axis 0, products of
# samples over axis 1.
BY_AXIS = ("covariance", "gram")


class Side(NamedTuple):
    """A matrix to compute on.

    Attributes:
        name: "gram", (N, N), or "covariance", (M, M).
        why: The reason, as a sentence.
    """

    name: str
    why: str


def dual_is_cheaper(n: Tensor, d: Tensor, has_one_view: bool) -> Tensor:
    """Whether squares of an (n, n) matrix cost less on the (d, d) matrix, including the gradient.

    For one view, either way takes two products with the gradient; we use the dual if d < 15/16 n.
    For two views, there are four small products or three large ones.

    Args:
        n: Size of the matrix, a whole number or a tensor.
        d: Size of the other one.
        has_one_view: Whether the products are of one view with itself.

    Returns:
        A boolean, or a boolean tensor if a size is a tensor.
    """
    return 16 * d < 15 * n if has_one_view else 4 * d < 3 * n


def select_energy_side(
    contrast: str, samples: int, dimensions: int, has_one_view: bool = True, side: str = "auto"
) -> Side:
    """Returns the matrix that `sample_energy` or `dimension_energy` computes on.

    Args:
        contrast: "samples" or "dimensions", whichever has its products summed.
        samples: N, over all replicas.
        dimensions: M.
        has_one_view: Whether the products are of one view with itself.
        side: "auto", or the matrix that the user chose.
    """
    if side != "auto":
        return Side(side, "The argument `side` chose it.")
    axis = int(contrast == "samples")
    n, d = (dimensions, samples) if axis == 0 else (samples, dimensions)
    use_dual = dual_is_cheaper(n, d, has_one_view)
    return _described(
        BY_AXIS[axis != use_dual], samples, dimensions, "cost less, including the gradient,"
    )


def select_log_det_side(samples: int, dimensions: int, side: str = "auto") -> Side:
    """Returns the matrix that `log_det` factors: by default the smaller one.

    Args:
        samples: N, over all replicas.
        dimensions: M.
        side: "auto", or the matrix that the user chose.
    """
    if side != "auto":
        return Side(side, "The argument `side` chose it.")
    name = "gram" if samples <= dimensions else "covariance"
    return _described(name, samples, dimensions, "are not more")


def select_log_sum_exp_side(contrast: str) -> Side:
    """Returns the matrix that a log-sum-exp visits in blocks, because it has no dual."""
    name = "gram" if contrast == "samples" else "covariance"
    return Side(name, "A log-sum-exp has no dual; it visits its matrix in blocks of rows.")


def _described(name: str, samples: int, dimensions: int, reason: str) -> Side:
    products = {"gram": f"{samples}^2 products of samples"}
    products["covariance"] = f"{dimensions}^2 products of dimensions"
    (other,) = set(products) - {name}
    return Side(name, f"The {products[name]} {reason} than the {products[other]}.")
