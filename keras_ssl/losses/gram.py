"""The duality as an algorithm: off-diagonal sums at their cheapest exact form.

Both families of the paper penalise the off-diagonal entries of a matrix of products: K K^T of
samples, (N, N), or K^T K of dimensions, (M, M). Below, n is the size of that matrix and d the
other: N and M, or M and N. None is computed as it is written:

- A sum of *squares* is a Frobenius norm, and `||K K^T||_F = ||K^T K||_F` (Theorem 3.3): the smaller
  of the two matrices serves, (n, n) or (d, d). At 8192 dimensions of 256 samples that is a
  thousandth of the memory. A log-determinant has the same symmetry (Sylvester).
- A *log-sum-exp* has no such dual. Its matrix is visited in blocks of rows, and once more for the
  gradient, instead of being held.

Taking the diagonal away. On (n, n) the diagonal is masked, which is exact however small the rest
is. On (d, d) it can only be subtracted, `||K^T K||^2 - sum_i ||K_i||^4` for samples, which loses
digits where the rest is small beside the whole. It cannot be where n > d and the n vectors have one
norm: their products then have rank d at most and trace t, so that the squares add up to t^2 / d at
least, of which the diagonal has t^2 / n (Welch's bound). So subtraction is safe just where (d, d)
is the smaller one, and where the off-diagonal can vanish, n <= d, masking is the cheaper form
anyway. Vectors of very different norms, an n barely above d, or two views of low rank that share
nothing escape that argument; hence the sum is looked at: where less than a sixteenth of the whole
is left, the masked form is computed instead. At most 4 of float32's 24 bits are ever lost.

References:
    - Garrido et al., ICLR 2023: Theorem 3.3, Definition 3.2.
    - Welch: Lower bounds on the maximum cross correlation of signals, 1974.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

# A difference is trusted where at least this part of the whole remains.
_LARGE_ENOUGH = 1 / 16

# Below this, sums of exponentials and products with their inverses are far from the limits of
# float32 (e^88) and bfloat16; nothing is in float16 (e^11).
_SAFE_EXPONENT = 30.0

# Up to this many entries (64 MiB in float32) a matrix of logits is held, for speed; a larger one is
# visited in blocks of about this many (16 MiB).
_HELD_ENTRIES = 2**24
_BLOCK_ENTRIES = 2**22

# The matrices that squares and log-determinants can be computed on.
SIDES = ("auto", "samples", "dimensions")


# The axis that products sum over: 1, the dimensions of two samples, for K K^T; 0, the samples of
# two dimensions, for K^T K.


def products(x: Any, y: Any, axis: int = 1) -> Any:
    """All products of samples, x y^T (N, N), or of dimensions, x^T y (M, M), of x and y (N, M)."""
    if axis == 1:
        return ops.matmul(x, ops.swapaxes(y, -1, -2))
    return ops.matmul(ops.swapaxes(x, -1, -2), y)


def _mix(a: Any, z: Any, axis: int) -> Any:
    """The samples of z mixed by a (N, N), a z; or its dimensions by a (M, M), z a^T."""
    return ops.matmul(a, z) if axis == 1 else ops.matmul(z, ops.transpose(a))


def off_diagonal(a: Any) -> Any:
    """A square matrix with zeros on its diagonal."""
    n = ops.shape(a)[0]
    i = ops.arange(n)
    # In place, where a mask would be a second matrix (and TensorFlow keep it as a constant).
    return ops.scatter_update(a, ops.stack([i, i], axis=1), ops.zeros((n,), dtype=a.dtype))


# --- Squares ---------------------------------------------------------------------------------


def sample_energy(z_1: Any, z_2: Any = None, gram: str = "auto") -> Any:
    """Sum of the squared products of different samples, `sum_{i != j} (z_1i . z_2j)^2`.

    With one argument, the paper's L_c.

    Args:
        z_1: Float (N, M).
        z_2: Float (N, M); by default `z_1`.
        gram: Through which matrix: "samples" (N, N), "dimensions" (M, M), or the one that costs
            less, "auto".

    Returns:
        Scalar, at least 0 (up to rounding).
    """
    return _energy(z_1, z_2, gram, axis=1)


def dimension_energy(z_1: Any, z_2: Any = None, gram: str = "auto") -> Any:
    """Sum of the squared products of different dimensions: `sample_energy` of the transposes.

    With one argument, the paper's L_nc. Arguments and result as of `sample_energy`.
    """
    return _energy(z_1, z_2, gram, axis=0)


def _energy(z_1: Any, z_2: Any, gram: str, axis: int) -> Any:
    # With C the products off their diagonal, the gradients of ||C||^2 are 2 C z_2 and 2 C^T z_1.
    # Inside a custom gradient nothing else is to be recorded: hence stop_gradient.
    if z_2 is None:

        @ops.custom_gradient
        def energy(x: Any) -> Any:
            x = ops.stop_gradient(x)
            value, slopes = _cheaper(x, x, gram, axis)
            return value, lambda upstream: 4 * upstream * slopes()[0]

        return energy(z_1)

    @ops.custom_gradient
    def energy_of_two(x: Any, y: Any) -> Any:
        value, slopes = _cheaper(ops.stop_gradient(x), ops.stop_gradient(y), gram, axis)
        return value, lambda upstream: tuple(2 * upstream * slope for slope in slopes())

    return energy_of_two(z_1, z_2)


# A value, and a function that gives C y and, if y is not x, C^T x.
_Energy = tuple[Any, Callable[[], tuple[Any, ...]]]


def _cheaper(x: Any, y: Any, gram: str, axis: int) -> _Energy:
    n, d = ops.shape(x)[1 - axis], ops.shape(x)[axis]
    if gram == "auto":
        # With the gradient, 2 products of either size, and the dual is kept where d < 15/16 n; of
        # two views, 4 small products or 3 large ones.
        use_dual = 16 * d < 15 * n if x is y else 4 * d < 3 * n
    else:
        use_dual = gram != ("dimensions", "samples")[axis]
    return _either(use_dual, lambda: _dual(x, y, axis), lambda: _direct(x, y, axis))


def _direct(x: Any, y: Any, axis: int) -> _Energy:
    """Through C itself, (n, n), its diagonal masked."""
    c = off_diagonal(products(x, y, axis))

    def slopes() -> tuple[Any, ...]:
        c_y = _mix(c, y, axis)
        return (c_y,) if x is y else (c_y, _mix(ops.transpose(c), x, axis))

    return ops.sum(ops.square(c)), slopes


def _dual(x: Any, y: Any, axis: int) -> _Energy:
    """Through the products along the other axis, (d, d), the diagonal subtracted where safe."""
    # As batches of one: TensorFlow's batched kernel splits these long sums over the cores.
    g_y = products(y[None], y[None], 1 - axis)[0]
    g_x = g_y if x is y else products(x[None], x[None], 1 - axis)[0]
    diagonal = ops.sum(x * y, axis=axis, keepdims=True)

    def slopes() -> tuple[Any, ...]:
        c_y = _mix(g_y, x, 1 - axis) - diagonal * y
        return (c_y,) if x is y else (c_y, _mix(g_x, y, 1 - axis) - diagonal * x)

    value = ops.sum(g_x * g_y) - ops.sum(ops.square(diagonal))
    # Square roots first: the product of the squares would be of the eighth power.
    whole = ops.sqrt(ops.sum(ops.square(g_x))) * ops.sqrt(ops.sum(ops.square(g_y)))
    return _either(
        value > _LARGE_ENOUGH * whole, lambda: (value, slopes), lambda: _direct(x, y, axis)
    )


def _either(condition: Any, one: Callable[[], _Energy], other: Callable[[], _Energy]) -> _Energy:
    """One of two ways to the same energy, known now or when the graph runs."""
    if isinstance(condition, bool):
        return one() if condition else other()
    value = ops.cond(condition, lambda: one()[0], lambda: other()[0])
    return value, lambda: ops.cond(condition, lambda: one()[1](), lambda: other()[1]())


# --- Log-determinants ------------------------------------------------------------------------


def log_det(z: Any, gram: str = "auto") -> Any:
    """Log det(I + z z^T) = log det(I + z^T z) of z (N, M), scalar.

    Args:
        z: Float (N, M).
        gram: Through which matrix: "samples" (N, N), "dimensions" (M, M), or the smaller, "auto".
    """
    n, m = ops.shape(z)
    use_samples = n <= m if gram == "auto" else gram == "samples"

    @ops.custom_gradient
    def value(z: Any) -> Any:
        z = ops.stop_gradient(z)
        value, slope = ops.cond(
            use_samples, lambda: _log_det_through(z, axis=1), lambda: _log_det_through(z, axis=0)
        )
        return value, lambda upstream: upstream * slope

    return value(z)


def _log_det_through(z: Any, axis: int) -> tuple[Any, Any]:
    """The log-determinant through the products over `axis`, and its gradient, 2 (I + P)^-1 z.

    By Cholesky, whose pivots are what is left of the diagonal once the rows above are accounted
    for: the same loss of digits as above, where the embeddings lie in few directions. Where a pivot
    is less than a sixteenth of its diagonal entry, or rounding could make one negative, all is
    computed in float64.
    """

    def matrix_of(z: Any) -> Any:
        matrix = products(z[None], z[None], axis)[0]
        return matrix + ops.eye(ops.shape(matrix)[0], dtype=z.dtype)

    def finish(factor: Any) -> tuple[Any, Any]:
        identity = ops.eye(ops.shape(factor)[0], dtype=factor.dtype)
        inverse = ops.solve_triangular(factor, identity, lower=True)
        inverse = ops.cast(products(inverse, inverse, axis=0), z.dtype)
        value = 2 * ops.sum(ops.log(ops.diagonal(factor)))
        return ops.cast(value, z.dtype), 2 * _mix(inverse, z, axis)

    matrix = matrix_of(z)
    diagonal = ops.diagonal(matrix)
    largest = ops.max(diagonal)

    def as_it_is() -> tuple[Any, Any]:
        factor = ops.cholesky(matrix)
        is_trusted = ops.all(ops.square(ops.diagonal(factor)) >= _LARGE_ENOUGH * diagonal)
        return ops.cond(is_trusted, lambda: finish(factor), in_float64)

    def in_float64() -> tuple[Any, Any]:
        # To factor what is not finite is an error in TensorFlow; the loss is to be not finite.
        is_finite = largest < float("inf")
        matrix = matrix_of(ops.cast(ops.where(is_finite, z, 0), "float64"))
        value, slope = finish(ops.cholesky(matrix))
        return value + 0 * largest, slope + 0 * largest

    rounding = largest * ops.cast(ops.shape(matrix)[0], z.dtype) * keras.config.epsilon()
    return ops.cond(rounding < _LARGE_ENOUGH, as_it_is, in_float64)


# --- Log-sum-exps ----------------------------------------------------------------------------


class Similarity(NamedTuple):
    """f of a product s of two embeddings, and what f'(s) makes of a gradient."""

    value: Callable[[Any], Any]
    pull: Callable[[Any, Any], Any]
    # f(c s) = c^degree f(s) for c > 0: where a temperature goes.
    degree: int


COSINE = Similarity(lambda s: s, lambda s, w: w, 1)
SQUARED = Similarity(ops.square, lambda s, w: 2 * s * w, 2)
ABSOLUTE = Similarity(ops.absolute, lambda s, w: ops.sign(s) * w, 1)


def sample_log_sum_exp(
    x: Any,
    y: Any = None,
    samples: Any = None,
    similarity: Similarity = COSINE,
    temperature: float = 1.0,
    block_size: int | None = None,
) -> Any:
    """Sample by sample, `log sum_j exp(f(x_i . x_j) / temperature)` over the j of other images.

    Never holds more than `block_size` rows of the matrix of products: the gradient computes them
    again. With l_i the result, g_i the gradient that arrives at it and s_ij = x_i . x_j, the
    gradient that leaves is `sum_j w_ij x_j`, where
    `w_ij = f'(s_ij) / temperature * (g_i exp(f_ij - l_i) + g_j exp(f_ij - l_j))`: i as an anchor,
    and i as a candidate of the anchor j.

    Args:
        x: Anchors, and their candidates, float (n, d).
        y: Other candidates, (n, d): then the anchors are the rows of `x` with the rows of `y` as
            candidates, and the rows of `y` with the rows of `x`.
        samples: Number of images, where the rows of `x` hold several views of each, one view after
            the other: rows of one image are no candidates. Default: every row is an image.
        similarity: f.
        temperature: Positive.
        block_size: Rows at a time. Default: all where the matrix has at most 2^24 entries, else
            enough for about 2^22. Where the number of rows is not known when a graph is traced (a
            data set that keeps its remainder), always blocks.

    Returns:
        (n,), or where `y` is given a pair of them.
    """
    x = x * temperature ** (-0.5 / similarity.degree)
    if y is None:

        @ops.custom_gradient
        def log_sums(x: Any) -> Any:
            x = ops.stop_gradient(x)
            values, gradients = _log_sum_exp(x, x, samples, similarity, block_size)
            return values[0], lambda upstream: gradients(upstream, upstream)[0]

        return log_sums(x)

    @ops.custom_gradient
    def mutual_log_sums(x: Any, y: Any) -> Any:
        x, y = ops.stop_gradient(x), ops.stop_gradient(y)
        return _log_sum_exp(x, y, samples, similarity, block_size)

    return mutual_log_sums(x, y * temperature ** (-0.5 / similarity.degree))


def dimension_log_sum_exp(x: Any, temperature: float = 1.0, block_size: int | None = None) -> Any:
    """`sample_log_sum_exp` of the transpose: dimension by dimension, over the other dimensions.

    Args:
        x: Float (N, M).
        temperature: Positive.
        block_size: Rows of the (M, M) matrix at a time, see `sample_log_sum_exp`.

    Returns:
        (M,).
    """
    return sample_log_sum_exp(ops.transpose(x), temperature=temperature, block_size=block_size)


def _log_sum_exp(
    x: Any, y: Any, samples: Any, similarity: Similarity, block_size: Any
) -> tuple[tuple[Any, ...], Callable[..., tuple[Any, ...]]]:
    """Of f(x y^T) over rows and, if y is not x, over columns; and the function of its gradients."""
    blocks = _Blocks(x, y, samples, similarity, block_size)
    mutual = x is not y

    # |f| is below this (Cauchy and Schwarz). Where that is little, exp needs no shift against
    # overflow, and one exponential serves i as an anchor and j as an anchor.
    norms = [ops.max(ops.sum(ops.square(z), axis=1)) for z in (x, y)]
    largest = similarity.value(ops.sqrt(norms[0] * norms[1]))
    dtype = keras.backend.standardize_dtype(x.dtype)
    is_bounded = largest < (0 if dtype == "float16" else _SAFE_EXPONENT)

    def sums(log_sum: Callable[..., Any]) -> tuple[Any, ...]:
        def step(start: Any, size: Any, of_rows: Any, *of_columns: Any) -> tuple[Any, ...]:
            _, f = blocks.products(start, size)
            return blocks.put(of_rows, start, log_sum(f, axis=1)), *(
                ops.logaddexp(so_far, log_sum(f, axis=0)) for so_far in of_columns
            )

        nothing = ops.full((blocks.n,), float("-inf"), dtype=x.dtype)
        return blocks.visit(step, (nothing, nothing) if mutual else (nothing,))

    values = ops.cond(
        is_bounded,
        lambda: sums(lambda f, axis: ops.log(ops.sum(ops.exp(f), axis=axis))),
        lambda: sums(ops.logsumexp),
    )

    def gradients(*upstream: Any) -> tuple[Any, ...]:
        def pulls(weights: Callable[..., Any]) -> tuple[Any, ...]:
            def step(start: Any, size: Any, of_x: Any, *of_y: Any) -> tuple[Any, ...]:
                s, f = blocks.products(start, size)
                w = similarity.pull(s, weights(f, lambda a: blocks.rows(a, start, size)[:, None]))
                return blocks.put(of_x, start, ops.matmul(w, y)), *(
                    so_far + ops.matmul(ops.transpose(w), blocks.rows(x, start, size))
                    for so_far in of_y
                )

            return blocks.visit(step, (ops.zeros_like(x),) * (1 + mutual))

        anchors, candidates = (values[0], upstream[0]), (values[-1], upstream[-1])

        def bounded() -> tuple[Any, ...]:
            a, c = (g * ops.exp(-value) for value, g in (anchors, candidates))
            return pulls(lambda f, rows: ops.exp(f) * (rows(a) + c))

        def unbounded() -> tuple[Any, ...]:
            (a, g), (c, h) = anchors, candidates
            return pulls(lambda f, rows: ops.exp(f - rows(a)) * rows(g) + ops.exp(f - c) * h)

        return ops.cond(is_bounded, bounded, unbounded)

    return values, gradients


class _Blocks:
    """The matrix f(x y^T), some rows at a time; held, if these are all rows."""

    def __init__(self, x: Any, y: Any, samples: Any, similarity: Similarity, block_size: Any):
        self.x, self.similarity = x, similarity
        self.n = n = ops.shape(x)[0]
        self.samples = n if samples is None else samples
        is_known = isinstance(n, int)
        if block_size is None:
            few = max if is_known else ops.maximum
            block_size = n if is_known and n * n <= _HELD_ENTRIES else few(1, _BLOCK_ENTRIES // n)
        self.size = block_size if is_known else ops.minimum(n, block_size)
        self.is_held = is_known and n <= self.size
        self.y_transposed = ops.transpose(y)  # once, not in every block
        self.held: Any = ops.matmul(x, self.y_transposed) if self.is_held else None

    def products(self, start: Any, size: Any) -> tuple[Any, Any]:
        """The rows of s = x y^T and of f(s), the latter -inf for pairs of one image."""
        s = (
            self.held
            if self.is_held
            else ops.matmul(self.rows(self.x, start, size), self.y_transposed)
        )
        # Row i and column j show one image where j = i modulo the number of images.
        i = ops.arange(size)[:, None]
        j = (start + i) % self.samples + self.samples * ops.arange(self.n // self.samples)
        pairs = ops.stack([ops.broadcast_to(i, ops.shape(j)), j], axis=-1)
        nothing = ops.full(ops.shape(j), float("-inf"), dtype=s.dtype)
        return s, ops.scatter_update(self.similarity.value(s), pairs, nothing)

    def rows(self, a: Any, start: Any, size: Any) -> Any:
        """`size` rows of a."""
        if self.is_held:
            return a
        return ops.slice(a, (start, 0)[: len(a.shape)], (size, *ops.shape(a)[1:]))

    def put(self, a: Any, start: Any, update: Any) -> Any:
        """`a` with some rows replaced."""
        if self.is_held:
            return update
        return ops.scatter_update(a, (start + ops.arange(ops.shape(update)[0]))[:, None], update)

    def visit(self, step: Callable[..., Any], results: Any) -> Any:
        """`results = step(start, size, *results)`, block after block; the last may be short."""
        blocks = 0 if self.is_held else self.n // self.size
        results = ops.fori_loop(
            0, blocks, lambda k, results: step(k * self.size, self.size, *results), results
        )
        rest = self.n - blocks * self.size
        if isinstance(rest, int) and rest == 0:
            return results
        return step(blocks * self.size, rest, *results)
