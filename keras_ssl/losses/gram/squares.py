"""Sums of squared products, computed on the cheaper of the two matrices."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_ssl._tensors import Tensor, at_least
from keras_ssl.losses.gram.matrices import (
    LARGE_ENOUGH,
    Batch,
    diagonal,
    gram_matrix,
    is_on_gram,
    mix,
    mix_transposed,
    off_diagonal,
    total,
)
from keras_ssl.losses.gram.sides import BY_AXIS, dual_is_cheaper
from keras_ssl.replicas import (
    alone,
    batch_size,
    custom_gradient,
    first_row,
    gather_batch,
    own_rows,
    sum_over_replicas,
)


def sample_energy(z_1: Tensor, z_2: Tensor = None, side: str = "auto") -> Tensor:
    """Returns the sum of squared products of different samples, `sum_{i != j} (z_1i . z_2j)^2`.

    With one argument, this is the paper's L_c.

    Args:
        z_1: Float (N, M).
        z_2: Float (N, M). Default: `z_1`.
        side: The matrix to compute on: "gram" (N, N), "covariance" (M, M), or "auto", the one that
            costs less; see `select_energy_side`.

    Returns:
        Scalar, at least 0 (up to rounding).
    """
    return _energy(z_1, z_2, side, axis=1)


def dimension_energy(z_1: Tensor, z_2: Tensor = None, side: str = "auto") -> Tensor:
    """Returns the sum of squared products of different dimensions.

    This is the `sample_energy` of the transposes, and takes the same arguments. With one argument,
    it is the paper's L_nc.
    """
    return _energy(z_1, z_2, side, axis=0)


def frobenius_energy(z: Tensor, side: str = "auto") -> Tensor:
    """Returns the sum of squares of all products, `||z z^T||_F^2 = ||z^T z||_F^2` (Theorem 3.3).

    It includes the products of a sample, or a dimension, with itself.

    Args:
        z: Float (N, M).
        side: The matrix to compute on: "gram" (N, N), "covariance" (M, M), or "auto", the smaller.

    Returns:
        Scalar, at least 0.
    """
    on_gram = is_on_gram(z, side)

    def through(z: Batch, axis: int) -> _Energy:
        g = gram_matrix(z, z, axis)
        return total(ops.square(g), axis), lambda: (mix(g, z, axis),)

    @custom_gradient
    def energy(z: Tensor) -> Tensor:
        z = ops.stop_gradient(z)
        batch = Batch(z, gather_batch(z))
        if isinstance(on_gram, bool):
            value, slopes = through(batch, int(on_gram))
        else:  # If the batch size is unknown, the matrix of dimensions is as exact.
            value, slopes = through(batch, 0)
        return value, lambda upstream: 4 * sum_over_replicas(upstream) * slopes()[0]

    return energy(z)


def gram_distance(z_1: Tensor, z_2: Tensor, side: str = "auto") -> Tensor:
    """Returns the squared distance of two Gram matrices, `||z_1 z_1^T - z_2 z_2^T||_F^2`.

    On the side of the dimensions, it is computed from s = z_1 + z_2 and d = z_1 - z_2, because
    `z_1 z_1^T - z_2 z_2^T = (s d^T + d s^T) / 2`: it is `(<s^T s, d^T d> + tr (d^T s)^2) / 2`, and
    loses no digits if the two are nearly equal.

    Args:
        z_1: Float (N, M).
        z_2: Float (N, M).
        side: The matrix to compute on: "gram" (N, N), "covariance" (M, M), or "auto", the smaller.

    Returns:
        Scalar, at least 0.
    """
    # If the batch size is unknown, the matrix of dimensions is as exact.
    through = _distance_by_samples if is_on_gram(z_1, side) is True else _distance_by_dimensions

    # The gradient at z_1 is 4 (z_1 z_1^T - z_2 z_2^T) z_1, and that at z_2 has the other sign.
    @custom_gradient
    def distance(z_1: Tensor, z_2: Tensor) -> Tensor:
        value, of_1, of_2 = through(ops.stop_gradient(z_1), ops.stop_gradient(z_2))

        def gradients(upstream: Tensor) -> tuple[Tensor, Tensor]:
            upstream = 4 * sum_over_replicas(upstream)
            return upstream * of_1, -upstream * of_2

        return at_least(value, 0), gradients  # Rounding may push it below.

    return distance(z_1, z_2)


def _distance_by_samples(z_1: Tensor, z_2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The distance of two Gram matrices, and the products of their difference with z_1 and z_2."""
    z_1, z_2 = (Batch(z, gather_batch(z)) for z in (z_1, z_2))
    s, d = Batch(z_1.own + z_2.own, z_1.all + z_2.all), Batch(z_1.own - z_2.own, z_1.all - z_2.all)
    difference = (gram_matrix(s, d, 1) + gram_matrix(d, s, 1)) / 2
    return total(ops.square(difference), 1), *(mix(difference, z, 1) for z in (z_1, z_2))


def _distance_by_dimensions(z_1: Tensor, z_2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same on matrices (M, M)."""

    def products_of(x: Tensor, y: Tensor) -> Tensor:
        return gram_matrix(Batch(x, None), Batch(y, None), 0)

    s, d = z_1 + z_2, z_1 - z_2
    mixed = products_of(d, s)
    squares = ops.sum(products_of(s, s) * products_of(d, d))
    value = (squares + ops.sum(mixed * ops.transpose(mixed))) / 2
    return value, *((s @ products_of(d, z) + d @ products_of(s, z)) / 2 for z in (z_1, z_2))


def _energy(z_1: Tensor, z_2: Tensor, side: str, axis: int) -> Tensor:
    # If C holds the off-diagonal products, the gradients of ||C||^2 are 2 C z_2 and 2 C^T z_1.
    # stop_gradient keeps the tape from recording anything else inside a custom gradient.
    if z_2 is None:

        @custom_gradient
        def energy(x: Tensor) -> Tensor:
            x = ops.stop_gradient(x)
            value, slopes = _cheaper(x, x, side, axis)
            return value, lambda upstream: 4 * sum_over_replicas(upstream) * slopes()[0]

        return energy(z_1)

    @custom_gradient
    def energy_of_two(x: Tensor, y: Tensor) -> Tensor:
        value, slopes = _cheaper(ops.stop_gradient(x), ops.stop_gradient(y), side, axis)

        def gradients(upstream: Tensor) -> tuple[Tensor, ...]:
            upstream = 2 * sum_over_replicas(upstream)
            return tuple(upstream * slope for slope in slopes())

        return value, gradients

    return energy_of_two(z_1, z_2)


# A value, and a function that returns C y and, if y is not x, C^T x.
_Energy = tuple[Any, Callable[[], tuple[Any, ...]]]


def _cheaper(x: Tensor, y: Tensor, side: str, axis: int) -> _Energy:
    shape = batch_size(x), ops.shape(x)[1]
    n, d = shape[1 - axis], shape[axis]
    use_dual = dual_is_cheaper(n, d, x is y) if side == "auto" else side != BY_AXIS[axis]
    # Only products of dimensions, whose diagonal can always be masked, need no other replica's
    # samples.
    is_local = axis == 0 and use_dual is False
    batch_x = Batch(x, None if is_local else gather_batch(x))
    batch_y = batch_x if x is y else Batch(y, None if is_local else gather_batch(y))
    return _either(
        use_dual,
        lambda: _dual(batch_x, batch_y, axis),
        lambda: _direct(batch_x, batch_y, axis),
    )


def _direct(x: Batch, y: Batch, axis: int) -> _Energy:
    """Computes on C itself, (n, n), and masks the diagonal."""
    c = off_diagonal(gram_matrix(x, y, axis), first_row(x.own) if axis == 1 else 0)

    def slopes() -> tuple[Tensor, ...]:
        c_y = mix(c, y, axis)
        return (c_y,) if x is y else (c_y, mix_transposed(c, x, axis))

    return total(ops.square(c), axis), slopes


def _dual(x: Batch, y: Batch, axis: int) -> _Energy:
    """Computes on the products over the other axis, (d, d), and subtracts the diagonal if safe."""
    other = 1 - axis
    g_y = gram_matrix(y, y, other)
    g_x = g_y if x is y else gram_matrix(x, x, other)
    c_ii = diagonal(x, y, axis)

    def slopes() -> tuple[Tensor, ...]:
        c_y = mix(g_y, x, other) - c_ii * y.own
        return (c_y,) if x is y else (c_y, mix(g_x, y, other) - c_ii * x.own)

    value = total(g_x * g_y, other) - total(ops.square(c_ii), axis)
    # Square roots first: the product of the squares would be an eighth power.
    norms = [ops.sqrt(total(ops.square(g), other)) for g in (g_x, g_y)]
    return _either(
        value > LARGE_ENOUGH * norms[0] * norms[1],
        lambda: (value, slopes),
        lambda: _repeated(x, y, axis),
    )


def _repeated(x: Batch, y: Batch, axis: int) -> _Energy:
    """Does `_direct` on the whole batch on every replica: branches cannot communicate."""
    whole_x = Batch(x.all, x.all)
    with alone():
        value, slopes = _direct(whole_x, whole_x if x is y else Batch(y.all, y.all), axis)

    def own_slopes() -> tuple[Tensor, ...]:
        with alone():
            of_all = slopes()
        return tuple(own_rows(slope) for slope in of_all)

    return value, own_slopes


def _either(condition: Tensor, one: Callable[[], _Energy], other: Callable[[], _Energy]) -> _Energy:
    """Computes an energy in one of two ways, chosen now or when the graph runs."""
    if isinstance(condition, bool):
        return one() if condition else other()
    value = ops.cond(condition, lambda: one()[0], lambda: other()[0])
    return value, lambda: ops.cond(condition, lambda: one()[1](), lambda: other()[1]())
