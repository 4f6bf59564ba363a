# %% [markdown]
# # Photos to features in ten minutes
#
# You have a folder of photos and no labels. At the end of this notebook you have an encoder that
# was trained on them, a row of numbers for each photo, and a picture of which photos are alike.
# Each call is also a command of `keras-ssl`; the page "Your photos" has those.
#
# Put your folder into `PHOTOS`. Without one, the notebook downloads Clothing (small): photos of
# clothes, of which 3,068 are to train on, public domain (CC0), by Alexey Grigorev. (The output
# below comes from a copy of them on disk, so the download itself was not run here.)

# %%
import os
import pathlib
import shutil

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_ssl

photos = os.environ.get("PHOTOS")
if photos is None:
    url = "https://github.com/alexeygrigorev/clothing-dataset-small/archive/refs/heads/master.zip"
    folder = pathlib.Path(keras.utils.get_file("clothing.zip", url, extract=True))
    photos = str(next(folder.rglob("train")))

# %% [markdown]
# ## Train
#
# `budget` is the time that you have. The encoder and the epochs follow from it, the size of the
# images from the device, and the run says why. `labels=False` takes sub-folders for mere folders.

# %%
run = keras_ssl.pretrain(
    photos,
    labels=False,
    method="simclr",
    budget=os.environ.get("BUDGET", "8min"),
    out="photos-run",
    quiet=True,
)
print(*sorted(path.name for path in run.folder.iterdir()), sep="\n")

# %% [markdown]
# `report.html` tells the whole run on one page. `views.png` shows what the encoder was asked to see
# as the same:

# %%
plt.figure(figsize=(8, 5))
plt.imshow(plt.imread(run.folder / "views.png"))
plt.axis("off")
plt.show()

# %% [markdown]
# ## Features
#
# A row of `features` belongs to the photo in the same row of `paths`.

# %%
embeddings = keras_ssl.embed(run.folder, photos, "features.npz", quiet=True)
print(embeddings.features.shape, embeddings.features.dtype)

# %% [markdown]
# ## What is alike
#
# Three photos, and the six photos whose features have the largest cosine with theirs.

# %%
unit = embeddings.features / np.linalg.norm(embeddings.features, axis=1, keepdims=True)
chosen = np.random.RandomState(1).choice(len(unit), 3, replace=False)
figure, axes = plt.subplots(3, 7, figsize=(9, 4), layout="constrained")
for row, i in zip(axes, chosen, strict=True):
    for axis, j in zip(row, np.argsort(-unit @ unit[i], kind="stable")[:7], strict=True):
        image = keras.utils.load_img(embeddings.file(j))
        axis.imshow(image.resize((96, 96)))
        axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# `keras_ssl.neighbors` draws this for photos of your choice, and finds near-duplicates and photos
# that are like no other:

# %%
found = keras_ssl.neighbors("features.npz", out="neighbors", quiet=True)
print(len(found.pairs), "pairs of near-duplicates")
print(*sorted(path.name for path in pathlib.Path("neighbors").iterdir()), sep="\n")

# %% [markdown]
# ## Take it with you
#
# `encoder.keras` is plain Keras. It loads without this library.

# %%
shutil.copy(run.folder / "encoder.keras", "encoder.keras")
encoder = keras.saving.load_model("encoder.keras")
print(encoder.input_shape, "->", encoder.output_shape)
