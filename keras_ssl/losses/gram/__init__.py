"""The duality as an algorithm: off-diagonal sums at their cheapest exact form.

Both families of the paper penalize the off-diagonal entries of a matrix of products: K K^T of
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

from keras_ssl.losses.gram.log_det import log_det
from keras_ssl.losses.gram.log_sum_exp import (
    ABSOLUTE,
    COSINE,
    SQUARED,
    Similarity,
    dimension_log_sum_exp,
    sample_log_sum_exp,
)
from keras_ssl.losses.gram.matrices import off_diagonal, products
from keras_ssl.losses.gram.sides import (
    SIDES,
    Side,
    select_energy_side,
    select_log_det_side,
    select_log_sum_exp_side,
)
from keras_ssl.losses.gram.squares import dimension_energy, frobenius_energy, sample_energy

__all__ = [
    "ABSOLUTE",
    "COSINE",
    "SIDES",
    "SQUARED",
    "Side",
    "Similarity",
    "dimension_energy",
    "dimension_log_sum_exp",
    "frobenius_energy",
    "log_det",
    "off_diagonal",
    "products",
    "sample_energy",
    "sample_log_sum_exp",
    "select_energy_side",
    "select_log_det_side",
    "select_log_sum_exp_side",
]
