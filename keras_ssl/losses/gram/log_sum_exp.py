"""Log-sum-exps of products, computed on blocks of rows of their matrix."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_ssl._tensors import Tensor, at_most
from keras_ssl.losses.gram.blocks import HELD_ENTRIES, RowBlocks
from keras_ssl.losses.gram.matrices import Batch, gram_matrix, off_diagonal
from keras_ssl.replicas import (
    alone,
    batch_size,
    custom_gradient,
    first_row,
    gather_batch,
    own_rows,
    replica_count,
    sum_over_replicas,
)

# Below this exponent, sums of exponentials and products with their inverses are far from the limits
# of float32 (e^88) and bfloat16. In float16 (e^11) no exponent is safe.
_SAFE_EXPONENT = 30.0


class Similarity(NamedTuple):
    """A function f of the product s of two embeddings, and its gradient."""

    value: Callable[[Any], Any]
    pull: Callable[[Any, Any], Any]
    # f(c s) = c^degree f(s) for c > 0, so a temperature can be applied to the embeddings.
    degree: int


COSINE = Similarity(lambda s: s, lambda s, w: w, 1)
SQUARED = Similarity(ops.square, lambda s, w: 2 * s * w, 2)
ABSOLUTE = Similarity(ops.absolute, lambda s, w: ops.sign(s) * w, 1)


def sample_log_sum_exp(
    x: Tensor,
    y: Tensor = None,
    samples: Any = None,
    similarity: Similarity = COSINE,
    temperature: float = 1.0,
    block_size: int | None = None,
) -> Tensor:
    """Returns `log sum_j exp(f(x_i . x_j) / temperature)` for each i, over the j of other images.

    It never holds more of the matrix of products than a few blocks of `block_size` rows
    (TensorFlow's graphs work on several at a time); the gradient computes them again. Let l_i be
    the result, g_i the gradient that arrives at it, and s_ij = x_i . x_j. The gradient of x_i is
    `sum_j w_ij x_j`, with
    `w_ij = f'(s_ij) / temperature * (g_i exp(f_ij - l_i) + g_j exp(f_ij - l_j))`. The first part is
    for i as an anchor, the second for i as a candidate of the anchor j.

    Args:
        x: Anchors and their candidates, float (n, d).
        y: Other candidates, (n, d). If given, the rows of `x` are anchors with the rows of `y` as
            candidates, and the rows of `y` are anchors with the rows of `x` as candidates.
        samples: Number of images, if `x` holds several views of them, one view after the other.
            Rows of the same image are not candidates. Default: every row is a different image.
        similarity: f.
        temperature: Positive.
        block_size: Rows at a time. Default: all rows if the matrix has at most 2^24 entries,
            otherwise enough rows for about 2^22 entries. If the number of rows is not known when a
            graph is traced (a data set that keeps its remainder), it always uses blocks.

    Returns:
        Tensor of shape (n,), or a pair of them if `y` is given.
    """
    x = x * temperature ** (-0.5 / similarity.degree)
    if y is None:

        @custom_gradient
        def log_sums(x: Tensor) -> Tensor:
            x = ops.stop_gradient(x)
            values, gradients = _log_sum_exp(x, x, samples, similarity, block_size)
            return values[0], lambda upstream: gradients(upstream)[0]

        return log_sums(x)

    @custom_gradient
    def mutual_log_sums(x: Tensor, y: Tensor) -> Tensor:
        x, y = ops.stop_gradient(x), ops.stop_gradient(y)
        return _log_sum_exp(x, y, samples, similarity, block_size)

    return mutual_log_sums(x, y * temperature ** (-0.5 / similarity.degree))


def dimension_log_sum_exp(
    x: Tensor, temperature: float = 1.0, block_size: int | None = None
) -> Tensor:
    """Returns the log-sum-exp of each dimension over the other dimensions.

    This is the `sample_log_sum_exp` of the transpose.

    Args:
        x: Float (N, M).
        temperature: Positive.
        block_size: Rows of the (M, M) matrix at a time; see `sample_log_sum_exp`.

    Returns:
        Tensor of shape (M,).
    """
    n, m = batch_size(x), ops.shape(x)[1]
    replicas = replica_count()
    # On replicas, adding up M^2 sums is cheaper than gathering N M embeddings; on one, transposing
    # the embeddings costs more than a few passes over the matrix.
    is_small = isinstance(n, int) and m <= n and m * m <= HELD_ENTRIES
    if is_small and block_size is None:
        return _held_dimensions(x, temperature)
    rows = ops.transpose(gather_batch(x))
    if m % replicas:
        with alone():
            return sample_log_sum_exp(rows, temperature=temperature, block_size=block_size)
    # From here on, the replicas divide the dimensions among themselves.
    return gather_batch(
        sample_log_sum_exp(own_rows(rows), temperature=temperature, block_size=block_size)
    )


def _held_dimensions(x: Tensor, temperature: float) -> Tensor:
    """Does `dimension_log_sum_exp` on the whole (M, M) matrix, without transposing x."""

    @custom_gradient
    def log_sums(x: Tensor) -> Tensor:
        x = ops.stop_gradient(x)
        logits = gram_matrix(Batch(x, x), Batch(x, x), axis=0) / temperature
        logits = off_diagonal(logits, value=float("-inf"))
        values = ops.logsumexp(logits, axis=1)

        def gradient(upstream: Tensor) -> Tensor:
            slopes = sum_over_replicas(upstream) / temperature
            w = ops.exp(logits - values[:, None]) * slopes[:, None]
            return x @ (w + ops.transpose(w))

        return values, gradient

    return log_sums(x)


def _log_sum_exp(
    x: Tensor, y: Tensor, samples: Any, similarity: Similarity, block_size: Any
) -> tuple[tuple[Any, ...], Callable[..., tuple[Any, ...]]]:
    """Log-sum-exps of f(x y^T) over rows and, if y is not x, over columns, and their gradients.

    The anchors of the rows are this replica's x, and their candidates are the y of all replicas.
    """
    mutual = x is not y
    y = gather_batch(y)
    blocks = _Pairs(x, y, samples, similarity, block_size)

    # This bounds |f| (Cauchy-Schwarz). If the bound is small, exp needs no shift against overflow,
    # and one exponential serves for i as an anchor and for j as an anchor.
    norms = [ops.max(ops.sum(ops.square(z), axis=1)) for z in (x, y)]
    largest = similarity.value(ops.sqrt(norms[0] * norms[1]))
    dtype = keras.backend.standardize_dtype(x.dtype)
    is_bounded = largest < (0 if dtype == "float16" else _SAFE_EXPONENT)

    def sums(log_sum: Callable[..., Any]) -> tuple[Tensor, ...]:
        def step(
            start: Tensor, size: Tensor, of_rows: Tensor, *of_columns: Tensor
        ) -> tuple[Tensor, ...]:
            _, f = blocks.similarities(start, size)
            return blocks.put(of_rows, start, log_sum(f, axis=1)), *(
                _log_add_exp(so_far, log_sum(f, axis=0)) for so_far in of_columns
            )

        nothing = [ops.full((ops.shape(z)[0],), float("-inf"), dtype=x.dtype) for z in (x, y)]
        return blocks.visit(step, nothing[: 1 + mutual])

    values = ops.cond(
        is_bounded,
        lambda: sums(lambda f, axis: ops.log(ops.sum(ops.exp(f), axis=axis))),
        lambda: sums(ops.logsumexp),
    )
    if mutual and replica_count() > 1:
        # Every replica has seen all candidates of its rows, but summed columns over its rows only.
        of_columns = ops.logsumexp(gather_batch(values[1][None]), axis=0)
        values = (values[0], own_rows(of_columns))

    def gradients(*upstream: Tensor) -> tuple[Tensor, ...]:
        anchors = values[0], upstream[0]
        candidates = gather_batch(values[-1]), gather_batch(upstream[-1])

        def pulls(weights: Callable[..., Any]) -> tuple[Tensor, ...]:
            def step(
                start: Tensor, size: Tensor, of_x: Tensor, *of_y: Tensor
            ) -> tuple[Tensor, ...]:
                s, f = blocks.similarities(start, size)
                w = similarity.pull(s, weights(f, lambda a: blocks.rows(a, start, size)[:, None]))
                return blocks.put(of_x, start, w @ y), *(
                    so_far + ops.transpose(w) @ blocks.rows(x, start, size) for so_far in of_y
                )

            return blocks.visit(step, [ops.zeros_like(z) for z in (x, y)][: 1 + mutual])

        def bounded() -> tuple[Tensor, ...]:
            a, c = (g * ops.exp(-value) for value, g in (anchors, candidates))
            return pulls(lambda f, rows: ops.exp(f) * (rows(a) + c))

        def unbounded() -> tuple[Tensor, ...]:
            (a, g), (c, h) = anchors, candidates
            return pulls(lambda f, rows: part(f, rows(a)) * rows(g) + part(f, c) * h)

        def part(f: Tensor, log_sum: Tensor) -> Tensor:
            # This is never above 1 in theory. But large products are rounded by more than 1, and
            # the product of i and j may be rounded differently from that of j and i.
            return ops.exp(at_most(f - log_sum, 0))

        of_x, *of_y = ops.cond(is_bounded, bounded, unbounded)
        return of_x, *(own_rows(sum_over_replicas(part)) for part in of_y)

    return values, gradients


def _log_add_exp(a: Tensor, b: Tensor) -> Tensor:
    # On some backends, Keras computes its own of float64 in float32.
    return ops.logsumexp(ops.stack([a, b]), axis=0)


class _Pairs(RowBlocks):
    """The matrix f(x y^T), some rows at a time, without the pairs of the same image."""

    def __init__(self, x: Tensor, y: Tensor, samples: Any, similarity: Similarity, block_size: Any):
        super().__init__(x, y, block_size)
        self.similarity = similarity
        self.samples = self.n if samples is None else samples
        self.first = first_row(x)

    def similarities(self, start: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """Returns rows of s = x y^T and of f(s); f(s) is -inf for pairs of the same image."""
        s = self.products(start, size)
        # Among the columns of this replica, row i and column j are the same image if j = i modulo
        # the number of images.
        i = ops.arange(size, dtype="int32")[:, None]
        views = ops.arange(self.n // self.samples, dtype="int32")
        j = (start + i) % self.samples + self.samples * views
        pairs = ops.stack([ops.broadcast_to(i, ops.shape(j)), self.first + j], axis=-1)
        pairs = ops.reshape(pairs, (-1, 2))
        nothing = ops.full((ops.shape(pairs)[0],), float("-inf"), dtype=s.dtype)
        return s, ops.scatter_update(self.similarity.value(s), pairs, nothing)
