"""Counts the epochs of a data source, so that a resumed `fit` gets exactly its epoch's data.

The order and the draws of an epoch follow from its number, but Keras does not tell a data set which
epoch it is in. Therefore, before `fit` of a method asks for the first batch of an epoch, it sets
the source's `Epochs` to the number of that epoch, also in a resumed or restored run. Any source can
keep this contract, also a `keras.utils.PyDataset` or a Grain loader: its attribute `epochs` is an
`Epochs`, and it calls `begin()` to get the number of each epoch that it begins.

For `views = keras_ssl.data.make_views(...)` this means:

- `model.fit(views, epochs=20)` trains epochs 0 to 19. A second `fit` begins with epoch 0 again,
  unless it says `initial_epoch=20`.
- `initial_epoch` and `keras.callbacks.BackupAndRestore` go on with the epoch they name. A run that
  is restored in the middle of an epoch begins that epoch again, as Keras does;
  `fit(initial_epoch=..., initial_step=...)` goes on within an epoch.
- `evaluate` and `validation_data` see epoch 0, the same data every time.
- Elsewhere, in your own loop or in `fit` of another model, each new iterator gives the next epoch,
  from 0. Two iterators at the same time are two epochs.
- `views.take(n)`, `views.map(f)` and similar data sets do the same, because `fit` looks through to
  the data set that they were made from.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from keras_ssl._keras import inputs_of


class Epochs:
    """Counts the epochs of a source of batches, unless its number is set.

    Attributes:
        held: The epoch, from 0, that every iterator gives that begins now. With `None`, each
            iterator gives the next epoch.

    Example:
        >>> epochs = Epochs()
        >>> epochs.begin(), epochs.begin()
        (0, 1)
        >>> with epochs.at(7):
        ...     print(epochs.begin(), epochs.begin())
        7 7
        >>> epochs.begin()
        2
    """

    def __init__(self) -> None:
        self.held: int | None = None
        self._next = itertools.count()

    def begin(self) -> int:
        """Returns the number of an epoch that begins now, from 0."""
        return next(self._next) if self.held is None else self.held

    @contextlib.contextmanager
    def at(self, epoch: int | None) -> Iterator[None]:
        """Opens a scope in which every iterator that begins gives this epoch."""
        before, self.held = self.held, epoch
        try:
            yield
        finally:
            self.held = before


def epochs_of(source: Any) -> list[Epochs]:
    """Returns the `Epochs` of a source of batches, or of what a `tf.data.Dataset` was made from."""
    own = getattr(source, "epochs", None)
    if isinstance(own, Epochs):
        return [own]
    return [epochs for part in inputs_of(source) for epochs in epochs_of(part)]
