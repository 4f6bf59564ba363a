# %% [markdown]
# # The duality, by hand
#
# One batch of embeddings is a matrix. Contrastive methods look at its rows, non-contrastive methods
# look at its columns, and a theorem of one line ties the two together. This notebook computes each
# step by hand, in NumPy, and then watches it while four methods train.
#
# The paper: Garrido, Chen, Bardes, Najman, LeCun, [On the duality between contrastive and
# non-contrastive self-supervised learning](https://arxiv.org/abs/2206.02574), ICLR 2023. It writes
# samples as columns. We write them as rows, as Keras does, so its $K$ is our $K^\top$.

# %%
import time

import keras
import matplotlib.pyplot as plt
import numpy as np

from keras_ssl import data, duality, encoders, evaluation, losses, models, optimizers

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Two matrices
#
# Eight images, five dimensions: $K$ has a row for each image.
#
# $$K K^\top \in \mathbb{R}^{N \times N} \quad\text{(samples)} \qquad
# K^\top K \in \mathbb{R}^{M \times M} \quad\text{(dimensions)}$$

# %%
k = np.random.RandomState(0).normal(size=(8, 5))
k /= np.linalg.norm(k, axis=1, keepdims=True)  # unit embeddings, as in SimCLR


def show(matrices):
    """Draws matrices side by side: red above 0, blue below it."""
    figure, axes = plt.subplots(1, len(matrices), figsize=(3 * len(matrices), 3))
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        largest = np.abs(matrix).max()
        axis.imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest)
        axis.set(title=title, xticks=[], yticks=[])
    figure.tight_layout()
    plt.show()


show({"K": k, "samples, K Kᵀ": k @ k.T, "dimensions, Kᵀ K": k.T @ k})

# %% [markdown]
# ## Two criteria
#
# A sample-contrastive criterion makes different images different: it shrinks the products of
# different rows. A dimension-contrastive criterion makes different dimensions tell different
# things: it shrinks the products of different columns (Definition 3.2).
#
# $$L_c = \sum_{i \ne j} \left(K K^\top\right)_{ij}^2 \qquad
# L_{nc} = \sum_{i \ne j} \left(K^\top K\right)_{ij}^2$$


# %%
def off_diagonal(matrix):
    """Returns the sum of the squares beside the diagonal."""
    return np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2)


l_c, l_nc = off_diagonal(k @ k.T), off_diagonal(k.T @ k)
print(f"L_c = {l_c:.4f}, L_nc = {l_nc:.4f}")

# %% [markdown]
# ## One theorem
#
# Both matrices have the same eigenvalues except zeros, so they have the same sum of squares:
# $\|K K^\top\|_F = \|K^\top K\|_F$. What is left is the diagonals, the norms of rows and columns
# (Theorem 3.3):
#
# $$L_{nc} + \sum_{j=1}^{M} \|K_{\cdot j}\|^4 = L_c + \sum_{i=1}^{N} \|K_{i \cdot}\|^4$$

# %%
of_rows = np.sum(np.linalg.norm(k, axis=1) ** 4)
of_columns = np.sum(np.linalg.norm(k, axis=0) ** 4)
print(f"dimensions: {l_nc + of_columns:.12f}")
print(f"samples:    {l_c + of_rows:.12f}")
print("the library:", [f"{float(side):.12f}" for side in duality.theorem_3_3(k)])

# %% [markdown]
# ## They pull the same way
#
# The gradients are $4\,(K K^\top - D)\,K$ and $4\,K\,(K^\top K - D')$, where $D$ and $D'$ are the
# diagonals. The first parts, $4\,K K^\top K$, are the same. What the diagonals add is a multiple of
# each row, or of each column. If rows have norm 1, the first only changes their lengths, which do
# not count; if columns are about equally long, so does the second. Here are the parts that
# turn the embeddings, and the cosine between them.


# %%
def turning(gradient, k):
    """Returns the part of a gradient that does not change the norm of a row."""
    return gradient - np.sum(gradient * k, axis=1, keepdims=True) * k


print("   N     M   cosine")
for n, m in [(16, 16), (64, 64), (256, 64), (64, 256), (512, 512)]:
    z = np.random.RandomState(0).normal(size=(n, m))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    gram, covariance = z @ z.T, z.T @ z
    of_samples = turning(4 * (gram - np.diag(np.diag(gram))) @ z, z)
    of_dimensions = turning(4 * z @ (covariance - np.diag(np.diag(covariance))), z)
    cosine = np.sum(of_samples * of_dimensions) / (
        np.linalg.norm(of_samples) * np.linalg.norm(of_dimensions)
    )
    print(f"{n:4} {m:5}   {cosine:.4f}")

# %% [markdown]
# ## Where they differ: a collapse
#
# All images get the same embedding, along one dimension: each pair of images has product 1, which
# $L_c$ sees. Only one dimension is in use, so no two of them correlate: $L_{nc} = 0$. The theorem
# says where the difference hides, in the norms of the dimensions. So a dimension-contrastive method
# needs something that keeps the dimensions up: VICReg's variance term, or Barlow Twins'
# standardization.

# %%
collapsed = np.zeros((8, 5))
collapsed[:, 0] = 1
print(f"L_c = {off_diagonal(collapsed @ collapsed.T):.0f}", end=", ")
print(f"L_nc = {off_diagonal(collapsed.T @ collapsed):.0f}", end=", ")
print(f"norms of dimensions = {np.sum(np.linalg.norm(collapsed, axis=0) ** 4):.0f}")

# %% [markdown]
# ## From VICReg to SimCLR
#
# The paper goes from one family to the other in three steps: another penalty, then the other side
# for all terms, then norm 1 in place of the variance term.
#
# | criterion | matrix | penalty | what keeps embeddings up |
# |---|---|---|---|
# | VICReg | dimensions | squares | variance of each dimension |
# | VICReg-exp | dimensions | **log-sum-exp** | variance of each dimension |
# | VICReg-ctr | **samples** | log-sum-exp | **variance within each sample** |
# | SimCLR | samples | log-sum-exp | **norm 1** |
#
# Let us train all four on handwritten digits, and look at both energies as they do.
# `DualityMonitor` is a Keras metric: it adds up what it needs over the batches of an epoch.
# (VICReg-exp has the weights of `recipes.SMALL`, because the paper's own, which were tuned for
# ImageNet, let the log-sum-exp crush the variance of embeddings as small as these.)

# %%
epochs, batch_size = 15, 128
train, test = data.load("digits")
path = {
    "VICReg": (models.VICReg, losses.VICRegLoss()),
    "VICReg-exp": (
        models.VICRegExp,
        losses.VICRegExpLoss(invariance_weight=4.0, variance_weight=4.0),
    ),
    "VICReg-ctr": (models.VICRegCtr, losses.VICRegCtrLoss()),
    "SimCLR": (models.SimCLR, losses.NTXentLoss()),
}
histories, trained = {}, {}
for name, (method, criterion) in path.items():
    keras.utils.set_random_seed(0)
    encoder = encoders.resnet8(train.image_shape)
    model = method(encoder, projector="256-256-64", criterion=criterion)
    views = data.make_views(train.without_labels(), data.tiny_gray(), batch_size)
    rate = optimizers.warmup_cosine(6e-3, batch_size, len(views), epochs, warmup_epochs=2)
    model.compile(keras.optimizers.AdamW(rate), metrics=[duality.DualityMonitor(dimensions=64)])
    histories[name] = model.fit(views, epochs=epochs, verbose=0).history
    trained[name] = model
    accuracy = evaluation.judge(encoder, train, test, label_free=False)
    print(f"{name:11} kNN {accuracy['knn']:.3f}, linear probe {accuracy['linear']:.3f}")

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
for name, history in histories.items():
    axes[0].plot(history["l_c"], label=name)
    axes[1].plot(history["l_nc"])
    axes[2].plot(history["negative_pair_variance"])
    axes[3].plot(history["rankme"])
    print(f"{name:11} residual of Theorem 3.3 at most {max(history['theorem_3_3_residual']):.0e}")
axes[0].set(title="$L_c$", xlabel="epoch", yscale="log")
axes[1].set(title="$L_{nc}$", xlabel="epoch", yscale="log")
axes[2].axhline(1 / 64, color="gray", linestyle=":")
axes[2].set(title="variance of negative pairs", xlabel="epoch")
axes[3].set(title="RankMe", xlabel="epoch")
figure.legend(loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# The theorem holds to rounding, for every method and in every epoch, and both energies go the same
# way. The dotted line is $1/M$, the variance that products of different images have in Proposition
# 3.1, for SimCLR with infinitely many negatives. So short a training is far from it.
#
# Here are both matrices of the test images, after training:

# %%
for name, model in trained.items():
    features = evaluation.extract(model.encoder, test)
    by_digit = features.values[np.argsort(features.labels, kind="stable")]
    z = keras.ops.convert_to_numpy(model.projector(by_digit, training=False))
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    show({f"{name}: samples by digit": z @ z.T, "dimensions": z.T @ z / len(z)})

# %% [markdown]
# Nobody told the methods the digits, and yet images of one digit are alike: these are the blocks on
# the diagonal of the samples.
#
# ## What the library makes of it
#
# The penalty of VICReg is a sum of squares of the covariances, so it can be computed on either
# matrix. With 256 embeddings of 4096 dimensions, one has 65 thousand entries, and the other has 17
# million. `side="auto"` takes the smaller one.

# %%
z_1, z_2 = np.random.RandomState(0).normal(size=(2, 256, 4096)).astype("float32")
for side in ("covariance", "gram", "auto"):
    criterion = losses.VICRegLoss(side=side)
    float(criterion(z_1, z_2))  # the first call is slower
    start = time.perf_counter()
    loss = float(criterion(z_1, z_2))
    print(f"{side:10} loss {loss:.5f}, {1000 * (time.perf_counter() - start):6.0f} ms")

# %% [markdown]
# The numbers are the same, the times are not. The page "What a criterion costs" has them for all
# criteria, with their gradients, beside other libraries'.
