"""The criteria once more, in NumPy and float64, written from the papers and nothing else.

Slow, literal, and independent of the library: loops over pairs where the library has matrices.
Rows are samples.
"""

import numpy as np


def _off_diagonal(matrix):
    n = len(matrix)
    return [[matrix[i, j] for j in range(n) if j != i] for i in range(n)]


def _log_sum_exp(values):
    values = np.asarray(values)
    top = values.max()
    return top + np.log(np.exp(values - top).sum())


def _hinge(x):
    """Mean over columns of max(0, 1 - unbiased std)."""
    return np.mean([max(0.0, 1 - np.sqrt(np.var(column, ddof=1) + 1e-4)) for column in x.T])


def _covariance(x, divisor):
    centered = x - x.mean(0)
    return centered.T @ centered / divisor


def vicreg_family(z_1, z_2, weights, samples=False, temperature=None, divisor=None):
    """Supplement L for a log-sum-exp (temperature given), VICReg's code for squares."""
    invariance = np.mean((z_1 - z_2) ** 2)
    x_1, x_2 = (z_1.T, z_2.T) if samples else (z_1, z_2)
    divisor = len(x_1) - 1 if divisor is None else divisor
    variance = (_hinge(x_1) + _hinge(x_2)) / 2
    penalties = []
    for x in (x_1, x_2):
        rows = _off_diagonal(_covariance(x, divisor))
        if temperature is None:
            penalties.append(sum(v**2 for row in rows for v in row) / len(rows))
        else:
            penalties.append(np.mean([_log_sum_exp(np.array(r) / temperature) for r in rows]))
    covariance = sum(penalties) if temperature is None else np.mean(penalties)
    return np.dot(weights, [invariance, variance, covariance])


def barlow_twins(z_1, z_2, redundancy_weight):
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (z_1, z_2))
    c = a.T @ b / len(a)
    on = sum((1 - c[i, i]) ** 2 for i in range(len(c)))
    off = sum(v**2 for row in _off_diagonal(c) for v in row)
    return on + redundancy_weight * off


def normalize(z, how):
    if how == "embeddings":
        return z / np.linalg.norm(z, axis=1, keepdims=True)
    z = z - z.mean(0)
    if how == "centered_embeddings":
        return z / np.linalg.norm(z, axis=1, keepdims=True)
    n, m = z.shape
    return z / np.sqrt(z.var(0) + 1e-5) / np.sqrt(n) * np.sqrt(n / m)


def info_nce(z_1, z_2, temperature, negatives, similarity, normalization, positive_in_denominator):
    f = {"cosine": lambda x: x, "squared": lambda x: x**2, "absolute": abs}[similarity]
    z_1, z_2 = normalize(z_1, normalization), normalize(z_2, normalization)
    losses = []
    for own, other in ((z_1, z_2), (z_2, z_1)):
        for i in range(len(own)):
            positive = f(own[i] @ other[i]) / temperature
            candidates = [positive] if positive_in_denominator else []
            for j in range(len(own)):
                if j == i:
                    continue
                if negatives in ("all", "same_view"):
                    candidates.append(f(own[i] @ own[j]) / temperature)
                if negatives in ("all", "cross_view"):
                    candidates.append(f(own[i] @ other[j]) / temperature)
            losses.append(_log_sum_exp(candidates) - positive)
    return np.mean(losses)


def spectral(z_1, z_2, squared_radius, negatives):
    def project(z):
        radius = np.sqrt(squared_radius)
        return np.stack([v * min(1.0, radius / np.linalg.norm(v)) for v in z])

    z_1, z_2 = project(z_1), project(z_2)
    n = len(z_1)
    alignment = -2 * np.mean([z_1[i] @ z_2[i] for i in range(n)])
    grams = [z_1 @ z_2.T] if negatives == "cross_view" else [z_1 @ z_1.T, z_2 @ z_2.T]
    energy = np.mean([sum(v**2 for r in _off_diagonal(g) for v in r) for g in grams])
    return (alignment + energy / (n * (n - 1))) / squared_radius


def coding_rate(z_1, z_2, alignment_weight, distortion):
    z_1, z_2 = (normalize(z, "embeddings") for z in (z_1, z_2))
    n, m = z_1.shape
    rates = []
    for z in (z_1, z_2):
        singular_values = np.linalg.svd(z, compute_uv=False)
        rates.append(0.5 * np.sum(np.log1p(m / (n * distortion) * singular_values**2)))
    alignment = -np.mean(np.sum(z_1 * z_2, axis=1))
    return alignment_weight * alignment - np.mean(rates)


def emp_ssl(views, alignment_weight, distortion):
    center = sum(normalize(z, "embeddings") for z in views) / len(views)
    similarities = [-alignment(z, center) for z in views]
    rates = [-coding_rate(z, z, 0, distortion) for z in views]
    return -alignment_weight * np.mean(similarities) - np.mean(rates)


def alignment(z_1, z_2):
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(z_1, z_2, strict=True)]
    return -np.mean(cosines)


def moco(queries, keys, temperature):
    queries, keys = normalize(queries, "embeddings"), normalize(keys, "embeddings")
    losses = [
        _log_sum_exp([q @ k / temperature for k in keys]) - q @ keys[i] / temperature
        for i, q in enumerate(queries)
    ]
    return np.mean(losses)


def uniformity(z_1, z_2, alignment_weight, uniformity_weight, temperature):
    z_1, z_2 = normalize(z_1, "embeddings"), normalize(z_2, "embeddings")
    aligned = np.mean([np.sum((a - b) ** 2) for a, b in zip(z_1, z_2, strict=True)])
    uniform = []
    for z in (z_1, z_2):
        n = len(z)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        kernel = [np.exp(-temperature * np.sum((z[i] - z[j]) ** 2)) for i, j in pairs]
        uniform.append(np.log(np.mean(kernel)))
    return alignment_weight * aligned + uniformity_weight * np.mean(uniform)


def matrix_entropy(views, order, invariance_weight, entropy_weight, dimensions=False):
    if dimensions:
        n, m = views[0].shape
        views = [z / np.linalg.norm(z, axis=0) * np.sqrt(n / m) for z in views]
    else:
        views = [normalize(z, "embeddings") for z in views]
    center = np.mean(views, axis=0)
    invariance = sum(np.mean(np.sum((z - center) ** 2, axis=1)) for z in views)
    entropies = []
    for z in views:
        p = np.linalg.svd(z, compute_uv=False) ** 2 / len(z)
        if order == 1:
            entropies.append(-np.sum(p * np.log(p)))
        else:
            entropies.append(np.log(np.sum(p**order)) / (1 - order))
    return invariance_weight * invariance - entropy_weight * np.sum(entropies)


def mmcr(*views):
    center = np.mean([normalize(z, "embeddings") for z in views], axis=0)
    return -np.sum(np.linalg.svd(center, compute_uv=False))


def vibcreg(z_1, z_2, weights):
    n, m = z_1.shape
    penalty = 0
    for z in (z_1, z_2):
        x = (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)
        penalty += sum(v**2 for row in _off_diagonal(x.T @ x / n) for v in row) / m**2
    variance = (_hinge(z_1) + _hinge(z_2)) / 2
    return np.dot(weights, [np.mean((z_1 - z_2) ** 2), variance, penalty])


def w_mse(z_1, z_2, shrinkage, size=None):
    def whiten(z):
        z = z - z.mean(0)
        covariance = z.T @ z / (len(z) - 1)
        mean_variance = np.trace(covariance) / len(covariance)
        shrunk = (1 - shrinkage) * covariance + shrinkage * mean_variance * np.eye(len(covariance))
        return z @ np.linalg.inv(np.linalg.cholesky(shrunk)).T

    size = size or len(z_1)
    parts = [slice(i, i + size) for i in range(0, len(z_1), size)]
    w_1, w_2 = (
        normalize(np.concatenate([whiten(z[part]) for part in parts]), "embeddings")
        for z in (z_1, z_2)
    )
    return np.mean([2 - 2 * a @ b for a, b in zip(w_1, w_2, strict=True)])


def epps_pulley(z):
    """The mean over all directions by SciPy's confluent hypergeometric function."""
    from scipy.special import hyp1f1

    n, m = z.shape
    pairs = [hyp1f1(0.5, m / 2, -np.sum((a - b) ** 2) / 2) for a in z for b in z]
    single = [hyp1f1(0.5, m / 2, -np.sum(a**2) / 4) for a in z]
    mean = np.mean(pairs) - np.sqrt(2) * np.mean(single) + 1 / np.sqrt(3)
    return n * np.sqrt(2 * np.pi) * mean


def sigreg(views, weight, global_views=None):
    center = np.mean(views[:global_views], axis=0)
    invariance = np.mean([(z - center) ** 2 for z in views])
    return (1 - weight) * invariance + weight * np.mean([epps_pulley(z) for z in views])


def gram_anchor(z_1, z_2):
    a, b = normalize(z_1, "embeddings"), normalize(z_2, "embeddings")
    return np.mean((a @ a.T - b @ b.T) ** 2)
