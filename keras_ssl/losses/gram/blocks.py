"""The matrix of products of samples, visited in blocks of rows."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_ssl._tensors import Tensor

# For speed, a matrix of products is held if it has at most the first number of entries (64 MiB in
# float32). A larger one is visited in blocks of about the second number of entries (16 MiB).
HELD_ENTRIES = 2**24
_BLOCK_ENTRIES = 2**22


class RowBlocks:
    """The matrix x y^T, some rows at a time; it is held if a block has all rows.

    Args:
        x: Float (n, d), the rows of this replica.
        y: Float (m, d), the columns.
        block_size: Rows at a time. Default: all rows if the matrix has at most 2^24 entries,
            otherwise enough rows for about 2^22 entries. If n is not known when a graph is traced,
            it always uses blocks.
    """

    def __init__(self, x: Tensor, y: Tensor, block_size: Any = None):
        self.x = x
        self.n = n = ops.shape(x)[0]
        is_known = isinstance(n, int)
        columns = ops.shape(y)[0]
        if block_size is None:
            few = max if is_known else ops.maximum
            is_small = is_known and n * columns <= HELD_ENTRIES
            block_size = n if is_small else few(1, _BLOCK_ENTRIES // columns)
        self.size = block_size if is_known else ops.minimum(n, block_size)
        self.is_held = is_known and n <= self.size
        self.y_transposed = ops.transpose(y)  # Once, not in every block.
        self.held: Any = x @ self.y_transposed if self.is_held else None

    def products(self, start: Tensor, size: Tensor) -> Tensor:
        """Returns `size` rows of x y^T, from `start` on."""
        return self.held if self.is_held else self.rows(self.x, start, size) @ self.y_transposed

    def rows(self, a: Tensor, start: Tensor, size: Tensor) -> Tensor:
        """Returns `size` rows of `a`, from `start` on."""
        if self.is_held:
            return a
        return ops.slice(a, (start, 0)[: len(a.shape)], (size, *ops.shape(a)[1:]))

    def put(self, a: Tensor, start: Tensor, update: Tensor) -> Tensor:
        """Returns `a` with the rows from `start` on replaced by `update`."""
        if self.is_held:
            return update
        return ops.scatter_update(
            a, (start + ops.arange(ops.shape(update)[0], dtype="int32"))[:, None], update
        )

    def visit(self, step: Callable[..., Any], results: Any) -> Any:
        """Applies `results = step(start, size, *results)` to each block; the last may be short."""
        blocks = 0 if self.is_held else self.n // self.size
        results = ops.fori_loop(
            0, blocks, lambda k, results: step(k * self.size, self.size, *results), tuple(results)
        )
        rest = self.n - blocks * self.size
        if isinstance(rest, int) and rest == 0:
            return results
        return step(blocks * self.size, rest, *results)
