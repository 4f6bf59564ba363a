# %% [markdown]
# # Extend it
#
# A method is an encoder, a projector and a criterion; everything else is shared. This notebook adds
# a criterion, makes it a method, and gets the rest for nothing: the micro-batches, the doctor, and
# the file that loads again.

# %%
import keras
from keras import ops

from keras_ssl import callbacks, data, encoders, evaluation, losses, models, optimizers, recipes

keras.utils.set_random_seed(0)

# %% [markdown]
# ## A criterion
#
# Unit embeddings repel each other like charges, by the mean of their potentials. A criterion has
# one hook, `terms`, which returns named terms without their weights. They appear in the logs under
# their names.
#
# $$\text{repulsion}(z) = \log \frac{1}{N (N - 1)} \sum_{i \ne j}
# \frac{1}{\sqrt{\|z_i - z_j\|^2 + \epsilon}}$$


# %%
@keras.saving.register_keras_serializable(package="notebook")
class CoulombLoss(losses.Criterion):
    """Views of one image attract each other, all others repel like charges."""

    def __init__(self, repulsion_weight=1.0, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.repulsion_weight = repulsion_weight

    @property
    def weights(self):
        """Returns the weights of the terms."""
        return {"attraction": 1.0, "repulsion": self.repulsion_weight}

    def terms(self, z_1, z_2):
        """Returns the terms of unit embeddings."""
        z_1, z_2 = (ops.normalize(z, axis=1) for z in (z_1, z_2))
        return {
            "attraction": ops.mean(ops.sum(ops.square(z_1 - z_2), axis=1)),
            "repulsion": (self.repulsion(z_1) + self.repulsion(z_2)) / 2,
        }

    def repulsion(self, z):
        """Returns the log of the mean inverse distance."""
        count = ops.shape(z)[0]
        squares = ops.maximum(2 - 2 * ops.matmul(z, ops.transpose(z)), 0) + 1e-3
        off_diagonal = 1 - ops.eye(count, dtype=z.dtype)
        pairs = ops.cast(count * (count - 1), z.dtype)
        return ops.log(ops.sum(off_diagonal / ops.sqrt(squares)) / pairs)


# %% [markdown]
# A criterion is a `keras.losses.Loss` and works by itself:

# %%
z_1, z_2 = keras.random.normal((2, 16, 8), seed=0)
print({name: round(float(term), 3) for name, term in CoulombLoss().terms(z_1, z_2).items()})
print(round(float(CoulombLoss(repulsion_weight=0.5)(z_1, z_2)), 3))

# %% [markdown]
# ## A method
#
# It takes three lines, and `fit` trains it. With `micro_batch_size` the criterion sees the whole
# batch in the memory of a part. The doctor looks for collapses, and the probe tells the accuracy on
# the side.


# %%
@keras.saving.register_keras_serializable(package="notebook")
class Coulomb(models.JointEmbeddingModel):
    """Self-supervision by charges."""

    default_projector = "256-256-64"
    default_criterion = CoulombLoss


epochs, batch_size = 15, 128
train, test = data.load("digits")
views = data.make_views(train, data.tiny_gray(), batch_size)
model = Coulomb(encoders.resnet8(train.image_shape), probe=10, micro_batch_size=64)
rate = optimizers.warmup_cosine(6e-3, batch_size, len(views), epochs, warmup_epochs=2)
model.compile(keras.optimizers.AdamW(rate))
inspector = callbacks.EmbeddingInspector(train, data.tiny_gray(), "logs", every=5)
doctor = callbacks.CollapseDoctor(inspector)
history = model.fit(views, epochs=epochs, verbose=0, callbacks=[inspector, doctor]).history
print({name: round(values[-1], 3) for name, values in history.items()})
print("the doctor says:", doctor.history or "nothing")

# %% [markdown]
# ## Is it any good?

# %%
found = {
    "untrained": evaluation.judge(encoders.resnet8(train.image_shape), train, test),
    "Coulomb": evaluation.judge(model.encoder, train, test),
}
print(evaluation.table(found))

# %% [markdown]
# ## It is a Keras model
#
# It saves, loads, and goes on.

# %%
model.save("coulomb.keras")
again = keras.saving.load_model("coulomb.keras")
print(type(again).__name__, "with", again.criterion.get_config())

# %% [markdown]
# ## It has a recipe
#
# Any registered method has one, so `keras_ssl.pretrain` and studies know it: save both classes in a
# module, import it, and give the recipe to `keras_ssl.pretrain`.

# %%
recipe = recipes.small(Coulomb, repulsion_weight=0.5)
print(recipe.criterion, recipe.projector, recipe.base_learning_rate)

# %% [markdown]
# The page "Extending" shows the other seams: a teacher and a predictor, more than two views, a
# criterion of all views at once, views that are not images, augmentations, and sources.
