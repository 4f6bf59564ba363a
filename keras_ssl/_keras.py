"""Every private name of Keras, TensorFlow and keras-tuner that the library leans on."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def forgotten_gradients() -> Iterator[None]:
    """A scope whose custom gradients TensorFlow forgets at its end.

    Every graph that calls a function with a custom gradient names it in a table that TensorFlow
    keeps as long as the process lives, and the gradient holds the graph: some 10 MiB for every
    model that was trained, in a process that trains many. What was differentiated inside the scope
    goes on working; a graph traced there cannot be differentiated once more outside of it.
    """
    from tensorflow.python.framework import ops as tf_ops

    # There is no public way to the table, and without it nothing is lost but memory.
    table = getattr(getattr(tf_ops, "gradient_registry", None), "_registry", {})
    before = set(table)
    try:
        yield
    finally:
        for name in set(table) - before:
            if name.startswith("CustomGradient"):
                del table[name]
