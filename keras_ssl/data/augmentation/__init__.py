"""Random augmentations of whole batches, with separate draws for every image.

Keras 3.15's layers of the same names crop and blur all images of a batch in the same way, halve
some probabilities, and do not repeat under a seed in a parallel `tf.data` map. These are stateless
functions of images and a seed, wrapped as layers.

The draws (`draw`, in `keras_ssl/data/draws.py`, without a backend) are separate from their use. All
draws of a policy are columns of one table of numbers, which has one row for each image. There are
two uses, whose results are the same to rounding: `augment` changes a batch by TensorFlow, in a
graph, inside a model or under XLA; `augment_each` changes one image by OpenCV, which is several
times as fast on a CPU (`one_by_one.py`), and is what `make_views` does.

Integer images are bytes, 0 to 255; float images lie in [0, 1]; the output is float32 in [0, 1]. (A
functional Keras model hands bytes over as floats up to 255 unless its input says
`keras.layers.Input(shape, dtype="uint8")`.)
"""

# Empty, because `keras_ssl.data` imports the public names from the files.
__all__: list[str] = []
