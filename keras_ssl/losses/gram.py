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

Gradients are written out, with what the value has computed already; there are no second ones.

Several replicas share out the work, by the same duality. Each holds some samples, that is some rows
of z. Of products of samples it computes the rows of its own samples, for which the embeddings are
gathered, N M floats; products of dimensions are sums over samples, and the replicas' sums are added
up, M^2 floats. The cheaper matrix to compute is the cheaper one to communicate.

References:
    - Garrido et al., ICLR 2023: Theorem 3.3, Definition 3.2.
    - Welch: Lower bounds on the maximum cross correlation of signals, 1974.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_ssl.distribution import (
    alone,
    batch_size,
    custom_gradient,
    first_row,
    gather_batch,
    own_rows,
    replica_count,
    sum_over_replicas,
)

# A difference is trusted where at least this part of the whole remains.
_LARGE_ENOUGH = 1 / 16

# An inverse is trusted where no eigenvalue is known to be larger than this, the smallest being 1.
_LARGEST_EIGENVALUE = 500.0

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


def off_diagonal(a: Any, first: Any = 0, value: float = 0.0) -> Any:
    """A square matrix with `value` on its diagonal; or some of its rows, from row `first` on."""
    n = ops.shape(a)[0]
    i = ops.arange(n, dtype="int32")
    # In place, where a mask would be a second matrix (and TensorFlow keep it as a constant).
    update = ops.full((n,), value, dtype=a.dtype)
    return ops.scatter_update(a, ops.stack([i, first + i], axis=1), update)


class _Batch(NamedTuple):
    """Embeddings: this replica's rows, and those of all replicas (which one replica has anyway)."""

    own: Any
    all: Any


def _gram(x: _Batch, y: _Batch, axis: int) -> Any:
    """The products of samples, those of this replica's with all, (N, N); or of dimensions, (M, M).

    As batches of one: TensorFlow's batched kernel splits long sums over the cores.
    """
    if axis == 1:
        return products(x.own[None], y.all[None])[0]
    return sum_over_replicas(products(x.own[None], y.own[None], axis=0)[0])


def _diagonal(x: _Batch, y: _Batch, axis: int) -> Any:
    """The products x_i . y_i of the same samples, (N, 1), or of the same dimensions, (1, M)."""
    diagonal = ops.sum(x.own * y.own, axis=axis, keepdims=True)
    return diagonal if axis == 1 else sum_over_replicas(diagonal)


def _total(a: Any, axis: int) -> Any:
    """The sum of all entries of a matrix of products, or of its diagonal."""
    return sum_over_replicas(ops.sum(a)) if axis == 1 else ops.sum(a)


def _mix(a: Any, z: _Batch, axis: int) -> Any:
    """The samples of z mixed by a (N, N), a z; or its dimensions by a (M, M), z a^T."""
    return ops.matmul(a, z.all) if axis == 1 else ops.matmul(z.own, ops.transpose(a))


def _mix_transposed(a: Any, z: _Batch, axis: int) -> Any:
    """The same with the transpose of a, a^T z or z a."""
    if axis == 0:
        return ops.matmul(z.own, a)
    return own_rows(sum_over_replicas(ops.matmul(ops.transpose(a), z.own)))


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

        @custom_gradient
        def energy(x: Any) -> Any:
            x = ops.stop_gradient(x)
            value, slopes = _cheaper(x, x, gram, axis)
            return value, lambda upstream: 4 * sum_over_replicas(upstream) * slopes()[0]

        return energy(z_1)

    @custom_gradient
    def energy_of_two(x: Any, y: Any) -> Any:
        value, slopes = _cheaper(ops.stop_gradient(x), ops.stop_gradient(y), gram, axis)

        def gradients(upstream: Any) -> tuple[Any, ...]:
            upstream = 2 * sum_over_replicas(upstream)
            return tuple(upstream * slope for slope in slopes())

        return value, gradients

    return energy_of_two(z_1, z_2)


# A value, and a function that gives C y and, if y is not x, C^T x.
_Energy = tuple[Any, Callable[[], tuple[Any, ...]]]


def _cheaper(x: Any, y: Any, gram: str, axis: int) -> _Energy:
    shape = batch_size(x), ops.shape(x)[1]
    n, d = shape[1 - axis], shape[axis]
    if gram == "auto":
        # With the gradient, 2 products of either size, and the dual is kept where d < 15/16 n; of
        # two views, 4 small products or 3 large ones.
        use_dual = 16 * d < 15 * n if x is y else 4 * d < 3 * n
    else:
        use_dual = gram != ("dimensions", "samples")[axis]
    # The products of dimensions alone, which nothing can vanish from, need no other's samples.
    is_local = axis == 0 and use_dual is False
    batch_x = _Batch(x, None if is_local else gather_batch(x))
    batch_y = batch_x if x is y else _Batch(y, None if is_local else gather_batch(y))
    return _either(
        use_dual,
        lambda: _dual(batch_x, batch_y, axis),
        lambda: _direct(batch_x, batch_y, axis),
    )


def _direct(x: _Batch, y: _Batch, axis: int) -> _Energy:
    """Through C itself, (n, n), its diagonal masked."""
    c = off_diagonal(_gram(x, y, axis), first_row(x.own) if axis == 1 else 0)

    def slopes() -> tuple[Any, ...]:
        c_y = _mix(c, y, axis)
        return (c_y,) if x is y else (c_y, _mix_transposed(c, x, axis))

    return _total(ops.square(c), axis), slopes


def _dual(x: _Batch, y: _Batch, axis: int) -> _Energy:
    """Through the products along the other axis, (d, d), the diagonal subtracted where safe."""
    other = 1 - axis
    g_y = _gram(y, y, other)
    g_x = g_y if x is y else _gram(x, x, other)
    diagonal = _diagonal(x, y, axis)

    def slopes() -> tuple[Any, ...]:
        c_y = _mix(g_y, x, other) - diagonal * y.own
        return (c_y,) if x is y else (c_y, _mix(g_x, y, other) - diagonal * x.own)

    value = _total(g_x * g_y, other) - _total(ops.square(diagonal), axis)
    # Square roots first: the product of the squares would be of the eighth power.
    norms = [ops.sqrt(_total(ops.square(g), other)) for g in (g_x, g_y)]
    return _either(
        value > _LARGE_ENOUGH * norms[0] * norms[1],
        lambda: (value, slopes),
        lambda: _repeated(x, y, axis),
    )


def _repeated(x: _Batch, y: _Batch, axis: int) -> _Energy:
    """`_direct` of the whole batch on every replica: replicas cannot meet in a branch."""
    whole_x = _Batch(x.all, x.all)
    with alone():
        value, slopes = _direct(whole_x, whole_x if x is y else _Batch(y.all, y.all), axis)

    def own_slopes() -> tuple[Any, ...]:
        with alone():
            of_all = slopes()
        return tuple(own_rows(slope) for slope in of_all)

    return value, own_slopes


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
    use_samples = batch_size(z) <= ops.shape(z)[1] if gram == "auto" else gram == "samples"

    @custom_gradient
    def value(z: Any) -> Any:
        z = ops.stop_gradient(z)
        z = _Batch(z, gather_batch(z))
        if isinstance(use_samples, bool):
            value, slope = _log_det_through(z, axis=int(use_samples))
        else:
            value, slope = ops.cond(
                use_samples,
                lambda: _log_det_through(z, axis=1),
                lambda: _log_det_through(z, axis=0),
            )
        return value, lambda upstream: sum_over_replicas(upstream) * slope

    return value(z)


def _log_det_through(z: _Batch, axis: int) -> tuple[Any, Any]:
    """The log-determinant through the products over `axis`, and its gradient, 2 (I + P)^-1 z.

    By Cholesky, whose pivots are what is left of the diagonal once the rows above are accounted
    for: the same loss of digits as above, where the embeddings lie in few directions. Where a pivot
    is less than a sixteenth of its diagonal entry, where rounding could make one negative, or where
    one eigenvalue, which is at least ||P||_F^2 / tr P, makes the inverse lose three digits, all is
    computed in float64. On the larger of the two matrices the gradient is exact to 1e-4 only.
    """

    def plus_identity(matrix: Any) -> Any:
        return matrix + ops.eye(ops.shape(matrix)[0], dtype=matrix.dtype)

    def finish(factor: Any) -> tuple[Any, Any]:
        identity = ops.eye(ops.shape(factor)[0], dtype=factor.dtype)
        inverse = ops.solve_triangular(factor, identity, lower=True)
        inverse = ops.cast(products(inverse, inverse, axis=0), z.own.dtype)
        value = 2 * ops.sum(ops.log(ops.diagonal(factor)))
        inverse = own_rows(inverse) if axis == 1 else inverse
        return ops.cast(value, z.own.dtype), 2 * _mix(inverse, z, axis)

    matrix = _gram(z, z, axis)
    matrix = plus_identity(gather_batch(matrix) if axis == 1 else matrix)
    diagonal = ops.diagonal(matrix)
    largest = ops.max(diagonal)

    def as_it_is() -> tuple[Any, Any]:
        factor = ops.cholesky(matrix)
        has_pivots = ops.all(ops.square(ops.diagonal(factor)) >= _LARGE_ENOUGH * diagonal)
        eigenvalue = ops.sum(ops.square(matrix)) / ops.sum(diagonal)
        is_trusted = ops.logical_and(has_pivots, eigenvalue < _LARGEST_EIGENVALUE)
        return ops.cond(is_trusted, lambda: finish(factor), in_float64)

    def in_float64() -> tuple[Any, Any]:
        # To factor what is not finite is an error in TensorFlow; the loss is to be not finite.
        is_finite = largest < float("inf")
        whole = ops.cast(ops.where(is_finite, z.all, 0), "float64")
        with alone():
            matrix = plus_identity(_gram(_Batch(whole, whole), _Batch(whole, whole), axis))
        value, slope = finish(ops.cholesky(matrix))
        return value + 0 * largest, slope + 0 * largest

    rounding = largest * ops.cast(ops.shape(matrix)[0], z.own.dtype) * keras.config.epsilon()
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

    Never holds more of the matrix of products than some blocks of `block_size` rows (TensorFlow's
    graphs work on several at a time): the gradient computes them again. With l_i the result, g_i
    the gradient that arrives at it and s_ij = x_i . x_j, the gradient that leaves is
    `sum_j w_ij x_j`, where
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

        @custom_gradient
        def log_sums(x: Any) -> Any:
            x = ops.stop_gradient(x)
            values, gradients = _log_sum_exp(x, x, samples, similarity, block_size)
            return values[0], lambda upstream: gradients(upstream)[0]

        return log_sums(x)

    @custom_gradient
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
    n, m = batch_size(x), ops.shape(x)[1]
    replicas = replica_count()
    if replicas > 1 and m <= n and m * m <= _HELD_ENTRIES and block_size is None:
        # M^2 sums to add up are fewer than N M embeddings to gather.
        logits = sum_over_replicas(products(x, x, axis=0)) / temperature
        return ops.logsumexp(off_diagonal(logits, value=float("-inf")), axis=1)
    rows = ops.transpose(gather_batch(x))
    if m % replicas:
        with alone():
            return sample_log_sum_exp(rows, temperature=temperature, block_size=block_size)
    # From here on the dimensions are what the replicas share out.
    return gather_batch(
        sample_log_sum_exp(own_rows(rows), temperature=temperature, block_size=block_size)
    )


def _log_sum_exp(
    x: Any, y: Any, samples: Any, similarity: Similarity, block_size: Any
) -> tuple[tuple[Any, ...], Callable[..., tuple[Any, ...]]]:
    """Of f(x y^T) over rows and, if y is not x, over columns; and the function of its gradients.

    The anchors of the rows are this replica's x, their candidates the y of all replicas.
    """
    mutual = x is not y
    y = gather_batch(y)
    blocks = _Blocks(x, y, samples, similarity, block_size)

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

        nothing = [ops.full((ops.shape(z)[0],), float("-inf"), dtype=x.dtype) for z in (x, y)]
        return blocks.visit(step, nothing[: 1 + mutual])

    values = ops.cond(
        is_bounded,
        lambda: sums(lambda f, axis: ops.log(ops.sum(ops.exp(f), axis=axis))),
        lambda: sums(ops.logsumexp),
    )
    if mutual and replica_count() > 1:
        # Every replica has seen the candidates of its rows, and summed columns over these alone.
        of_columns = ops.logsumexp(gather_batch(values[1][None]), axis=0)
        values = (values[0], own_rows(of_columns))

    def gradients(*upstream: Any) -> tuple[Any, ...]:
        anchors = values[0], upstream[0]
        candidates = gather_batch(values[-1]), gather_batch(upstream[-1])

        def pulls(weights: Callable[..., Any]) -> tuple[Any, ...]:
            def step(start: Any, size: Any, of_x: Any, *of_y: Any) -> tuple[Any, ...]:
                s, f = blocks.products(start, size)
                w = similarity.pull(s, weights(f, lambda a: blocks.rows(a, start, size)[:, None]))
                return blocks.put(of_x, start, ops.matmul(w, y)), *(
                    so_far + ops.matmul(ops.transpose(w), blocks.rows(x, start, size))
                    for so_far in of_y
                )

            return blocks.visit(step, [ops.zeros_like(z) for z in (x, y)][: 1 + mutual])

        def bounded() -> tuple[Any, ...]:
            a, c = (g * ops.exp(-value) for value, g in (anchors, candidates))
            return pulls(lambda f, rows: ops.exp(f) * (rows(a) + c))

        def unbounded() -> tuple[Any, ...]:
            (a, g), (c, h) = anchors, candidates
            return pulls(lambda f, rows: part(f, rows(a)) * rows(g) + part(f, c) * h)

        def part(f: Any, log_sum: Any) -> Any:
            # Never above 1; but large products are rounded by more than 1, and those of i and j
            # need not be rounded as those of j and i.
            return ops.exp(ops.minimum(f - log_sum, 0))

        of_x, *of_y = ops.cond(is_bounded, bounded, unbounded)
        return of_x, *(own_rows(sum_over_replicas(part)) for part in of_y)

    return values, gradients


class _Blocks:
    """The matrix f(x y^T), some rows at a time; held, if these are all rows."""

    def __init__(self, x: Any, y: Any, samples: Any, similarity: Similarity, block_size: Any):
        self.x, self.similarity = x, similarity
        self.n = n = ops.shape(x)[0]
        self.samples = n if samples is None else samples
        self.first = first_row(x)
        is_known = isinstance(n, int)
        candidates = ops.shape(y)[0]
        if block_size is None:
            few = max if is_known else ops.maximum
            is_small = is_known and n * candidates <= _HELD_ENTRIES
            block_size = n if is_small else few(1, _BLOCK_ENTRIES // candidates)
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
        # Row i and column j show one image where j = i modulo the number of images, among the
        # columns of this replica.
        i = ops.arange(size, dtype="int32")[:, None]
        views = ops.arange(self.n // self.samples, dtype="int32")
        j = (start + i) % self.samples + self.samples * views
        pairs = ops.stack([ops.broadcast_to(i, ops.shape(j)), self.first + j], axis=-1)
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
        return ops.scatter_update(
            a, (start + ops.arange(ops.shape(update)[0], dtype="int32"))[:, None], update
        )

    def visit(self, step: Callable[..., Any], results: Any) -> Any:
        """`results = step(start, size, *results)`, block after block; the last may be short."""
        blocks = 0 if self.is_held else self.n // self.size
        results = ops.fori_loop(
            0, blocks, lambda k, results: step(k * self.size, self.size, *results), tuple(results)
        )
        rest = self.n - blocks * self.size
        if isinstance(rest, int) and rest == 0:
            return results
        return step(blocks * self.size, rest, *results)
