"""Trains an encoder on digits without labels, in one screen of plain Keras.

Run it with `python examples/quickstart.py`.
"""

import sys

import keras

from keras_ssl import data, encoders, evaluation, models, optimizers

epochs, batch_size = (1, 256) if "--smoke" in sys.argv else (20, 256)
keras.utils.set_random_seed(0)

train, test = data.load("digits")
views = data.make_views(train.without_labels(), data.tiny_gray(), batch_size)

encoder = encoders.resnet8(train.image_shape)  # any Keras model from images to features
model = models.VICReg(encoder, projector="256-256-256")
schedule = optimizers.warmup_cosine(3e-3, batch_size, len(views), epochs, warmup_epochs=epochs / 10)
model.compile(keras.optimizers.AdamW(schedule))
model.fit(views, epochs=epochs)

print(evaluation.judge(encoder, train, test))  # uses the labels, for the first and only time
