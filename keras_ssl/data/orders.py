"""The orders of `tf.data`'s shuffles, computed without TensorFlow."""

import numpy as np

# Philox-4x32 with 10 rounds: the multipliers of its words, and what is added to its key each round.
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# TensorFlow's seed of a graph that has none of its own, and the number of seeds of an operation.
_GRAPH_SEED, _SEEDS = 87654321, 2**31 - 1


def shuffled(size: int, seed: int) -> np.ndarray:
    """Returns the order of `tf.data.Dataset.range(size).shuffle(size, seed)` within a graph.

    That graph has no seed of its own. With all numbers in its buffer, TensorFlow's shuffle is that
    of Fisher and Yates: place i gets one of the numbers at places i and above, by word i of its
    generator, `offset = word % (size - i)`.

    Args:
        size: How many numbers are shuffled, at least 1.
        seed: Any whole number of at least 0.

    Returns:
        The numbers from 0 to size - 1, int64 (size,).

    References:
        - TensorFlow 2.21, core/kernels/data/shuffle_dataset_op.cc and
          core/lib/random/philox_random.h.
        - Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
    """
    left = np.arange(size, 0, -1, dtype=np.uint64)
    offsets = (_philox(_GRAPH_SEED, seed % _SEEDS, size) % left).tolist()
    order = list(range(size))
    for i, offset in enumerate(offsets):
        order[i], order[i + offset] = order[i + offset], order[i]
    return np.array(order, np.int64)


def _philox(key: int, stream: int, count: int) -> np.ndarray:
    """Returns random words of 32 bits, uint64 (count,), of one of a key's streams."""
    low = np.uint64(0xFFFFFFFF)
    blocks = np.arange(-(-count // 4), dtype=np.uint64)  # A block is four words.
    fixed = [np.full_like(blocks, number) for number in (stream & int(low), stream >> 32)]
    words = np.stack([blocks & low, blocks >> np.uint64(32), *fixed])
    keys = [key & int(low), key >> 32]
    for _ in range(_ROUNDS):
        products = words[[0, 2]] * _MULTIPLIERS
        (high_0, high_1), (low_0, low_1) = products >> np.uint64(32), products & low
        mixed_0 = high_1 ^ words[1] ^ np.uint64(keys[0])
        mixed_1 = high_0 ^ words[3] ^ np.uint64(keys[1])
        words = np.stack([mixed_0, low_1, mixed_1, low_0])
        keys = [(k + step) & int(low) for k, step in zip(keys, _KEY_STEPS, strict=True)]
    return words.T.reshape(-1)[:count]
