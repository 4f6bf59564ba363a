"""The duality as an algorithm: off-diagonal sums, computed exactly in the cheapest way.

Both families of the paper penalize the off-diagonal entries of a matrix of products: K K^T of
samples, (N, N), or K^T K of dimensions, (M, M). Below, n is the size of that matrix and d the size
of the other one: N and M, or M and N. We do not compute the penalties as they are written:

- A sum of *squares* is a Frobenius norm, and `||K K^T||_F = ||K^T K||_F` (Theorem 3.3), so we can
  use the smaller of the two matrices, (n, n) or (d, d). With 8192 dimensions and 256 samples, it
  takes a thousandth of the memory. A log-determinant has the same symmetry (Sylvester).
- Any other function of the singular values is the same on both, too: `spectral_sum`.
- A *log-sum-exp* has no such dual. Instead of holding its matrix, we visit it in blocks of rows,
  and once more for the gradient.

How the diagonal is removed: on (n, n) it is masked, which is exact, however small the rest is. On
(d, d) it can only be subtracted, `||K^T K||^2 - sum_i ||K_i||^4` for samples. This loses digits if
the rest is small compared with the whole. The rest cannot be small if n > d and the n vectors have
the same norm. Their products then have rank d at most and trace t, so the squares add up to at
least t^2 / d, and the diagonal's part of that is t^2 / n (Welch's bound). Subtraction is therefore
safe exactly where (d, d) is the smaller matrix. Where the off-diagonal entries can vanish, n <= d,
masking is cheaper anyway. The argument does not cover vectors of very different norms, an n barely
above d, or two views of low rank that share nothing. We therefore check the sum: if less than a
sixteenth of the whole is left, the masked form is computed instead. At most 4 of the 24 bits of
float32 are ever lost.

Gradients are written out, and use what was computed for the value. There are no second gradients.

Several replicas divide the work by the same duality. Each holds some samples, which are rows of z.
For products of samples, a replica computes the rows of its own samples, which requires gathering
the embeddings, N M floats. Products of dimensions are sums over samples: the sums of the replicas
are added up, M^2 floats. The matrix that is cheaper to compute is also cheaper to communicate.

References:
    - Garrido et al., ICLR 2023: Theorem 3.3, Definition 3.2.
    - Welch: Lower bounds on the maximum cross correlation of signals, 1974.
"""

from keras_ssl.losses.gram.correlation import distance_from_identity
from keras_ssl.losses.gram.directions import epps_pulley
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
from keras_ssl.losses.gram.spectrum import (
    SQUARE_ROOT,
    SpectralFunction,
    entropy_of,
    power_of,
    spectral_sum,
)
from keras_ssl.losses.gram.squares import (
    dimension_energy,
    frobenius_energy,
    gram_distance,
    sample_energy,
)

__all__ = [
    "ABSOLUTE",
    "COSINE",
    "SIDES",
    "SQUARED",
    "SQUARE_ROOT",
    "Side",
    "Similarity",
    "SpectralFunction",
    "dimension_energy",
    "dimension_log_sum_exp",
    "distance_from_identity",
    "entropy_of",
    "power_of",
    "epps_pulley",
    "frobenius_energy",
    "gram_distance",
    "log_det",
    "off_diagonal",
    "products",
    "sample_energy",
    "sample_log_sum_exp",
    "select_energy_side",
    "select_log_det_side",
    "select_log_sum_exp_side",
    "spectral_sum",
]
