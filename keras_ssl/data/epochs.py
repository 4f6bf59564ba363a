"""Which epoch of a data source comes next: what lets `fit` go on with exactly the epoch's own data.

Order and draws of an epoch follow from its number, and Keras does not tell a data set what epoch it
is in. `fit` of a method therefore holds a source's `Epochs` at the number of each epoch before it
asks for the first batch, the first epoch of a resumed or restored run included. Any source can keep
this contract, a `keras.utils.PyDataset` or a Grain loader too: it has an attribute `epochs`, an
`Epochs`, and asks it with `begin()` for the number of each epoch it begins.

What follows, for `views = keras_ssl.data.make_views(...)`:

- `model.fit(views, epochs=20)` trains epochs 0 to 19. A second `fit` begins with epoch 0 again,
  unless it says `initial_epoch=20`.
- `initial_epoch` and `keras.callbacks.BackupAndRestore` go on with the epoch they name. What is
  restored in the middle of an epoch begins that epoch again, as Keras does it;
  `fit(initial_epoch=..., initial_step=...)` goes on within an epoch.
- `evaluate` and `validation_data` see epoch 0, every time the same.
- Elsewhere, in a loop of one's own or in `fit` of another model, each new iterator gives the next
  epoch, from 0. Two iterators at once are two epochs.
- `views.take(n)`, `views.map(f)` and their likes keep all this: they are found by what they are
  made of.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from keras_ssl._keras import inputs_of


class Epochs:
    """Counts the epochs of a source of batches, unless somebody holds it at one.

    Attributes:
        held: The epoch that every iterator gives that begins now, from 0; `None`: each gives the
            next.
    """

    def __init__(self) -> None:
        self.held: int | None = None
        self._next = itertools.count()

    def begin(self) -> int:
        """The number of an epoch that begins now, from 0."""
        return next(self._next) if self.held is None else self.held

    @contextlib.contextmanager
    def at(self, epoch: int | None) -> Iterator[None]:
        """A scope in which every iterator that begins gives this epoch."""
        before, self.held = self.held, epoch
        try:
            yield
        finally:
            self.held = before


def epochs_of(source: Any) -> list[Epochs]:
    """The `Epochs` of a source of batches, or of what a `tf.data.Dataset` was made of."""
    own = getattr(source, "epochs", None)
    if isinstance(own, Epochs):
        return [own]
    return [epochs for part in inputs_of(source) for epochs in epochs_of(part)]
