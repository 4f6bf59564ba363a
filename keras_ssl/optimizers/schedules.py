"""The papers' schedules of learning rate and momentum, built on `keras.optimizers.schedules`."""

import keras

from keras_ssl._validation import check_count, check_fraction, check_non_negative, check_positive


def scaled_learning_rate(base_learning_rate: float, batch_size: int) -> float:
    """Returns the learning rate by the linear rule: `base_learning_rate * batch_size / 256`.

    All papers here use this rule.

    Args:
        base_learning_rate: Learning rate at a batch of 256, positive.
        batch_size: Images per step over all replicas (the two views of an image count once).

    Returns:
        The learning rate.

    Example:
        >>> scaled_learning_rate(0.3, batch_size=1024)
        1.2
    """
    base = check_positive("base_learning_rate", base_learning_rate)
    return base * check_count("batch_size", batch_size) / 256


def warmup_cosine(
    base_learning_rate: float,
    batch_size: int,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float = 10,
    final_fraction: float = 0.0,
) -> keras.optimizers.schedules.CosineDecay:
    """Returns a linear warm-up from 0 to the scaled learning rate, followed by a cosine decay.

    Args:
        base_learning_rate: Learning rate at a batch of 256; see `scaled_learning_rate`.
        batch_size: Images per step over all replicas.
        steps_per_epoch: Steps per epoch.
        epochs: Total number of epochs, including the warm-up.
        warmup_epochs: Epochs of warm-up, fewer than `epochs`. Default 10, as in the duality paper.
        final_fraction: The final learning rate as a fraction of the peak, in [0, 1]. Default 0, as
            in SimCLR's code; the codes of VICReg and Barlow Twins end at 0.001.

    Returns:
        A `keras.optimizers.schedules.CosineDecay`.

    Raises:
        ValueError: if a value is out of its range.

    Example:
        >>> rate = warmup_cosine(0.3, batch_size=512, steps_per_epoch=10, epochs=100)
        >>> [round(float(rate(step)), 3) for step in (0, 50, 100, 550, 1000)]
        [0.0, 0.3, 0.6, 0.3, 0.0]
    """
    warmup_epochs = check_non_negative("warmup_epochs", warmup_epochs)
    if warmup_epochs >= check_count("epochs", epochs):
        raise ValueError(
            f"`warmup_epochs` must be less than epochs. Received: {warmup_epochs=}, {epochs=}"
        )
    steps_per_epoch = check_count("steps_per_epoch", steps_per_epoch)
    peak = scaled_learning_rate(base_learning_rate, batch_size)
    # One step is left for the decay, however the warm-up is rounded.
    warmup_steps = min(round(warmup_epochs * steps_per_epoch), epochs * steps_per_epoch - 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else peak,
        decay_steps=epochs * steps_per_epoch - warmup_steps,
        alpha=check_fraction("final_fraction", final_fraction),
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def cosine_momentum(
    initial_momentum: float, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the momentum of a teacher, which rises from `initial_momentum` to 1 along a cosine.

    At step k it is `1 - (1 - initial_momentum) (cos(pi k / steps) + 1) / 2`, as in BYOL, section
    3.2.

    Args:
        initial_momentum: The momentum of the first step, in (0, 1). BYOL uses 0.996.
        steps: Steps of the whole training.

    Returns:
        A rising `keras.optimizers.schedules.CosineDecay`, for `keras_ssl.layers.MovingAverage`.

    Raises:
        ValueError: if a value is out of its range.

    Example:
        >>> momentum = cosine_momentum(0.9, steps=100)
        >>> [round(float(momentum(step)), 3) for step in (0, 50, 100)]
        [0.9, 0.95, 1.0]
    """
    initial_momentum = check_positive("initial_momentum", initial_momentum)
    if initial_momentum >= 1:
        raise ValueError(f"`initial_momentum` must be below 1. Received: {initial_momentum=}")
    return keras.optimizers.schedules.CosineDecay(
        initial_momentum, check_count("steps", steps), alpha=1 / initial_momentum
    )
