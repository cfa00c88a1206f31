"""The order of examples: a pure function of (number of examples, seed, position).

Positions 0, 1, 2, ... run through one random permutation of the examples after another; batch k
holds positions kB to (k+1)B - 1 and may straddle two epochs. There is no iterator and no state,
so any step can be gone to at once, by any process.
"""

from functools import lru_cache

import numpy as np

from cnn_archs.arithmetic import ceil_div


@lru_cache(maxsize=16)  # 5 MB each for ImageNet; two for each seed are in use at once
def permutation(examples: int, seed: int, epoch: int) -> np.ndarray:
    """i32[examples]: the order of epoch `epoch` (from 0)."""
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(examples)
    return order.astype(np.int32)


def indices(examples: int, seed: int, start: int, count: int) -> np.ndarray:
    """i32[count]: the examples at positions start, ..., start + count - 1."""
    epochs = range(start // examples, (start + count - 1) // examples + 1)
    order = np.concatenate([permutation(examples, seed, e) for e in epochs])
    first = start - epochs.start * examples
    return order[first : first + count]


def batch_indices(examples: int, seed: int, step: int, steps: int, batch_size: int) -> np.ndarray:
    """i32[steps, batch_size]: the batches of `steps` steps, the first of them `step`."""
    flat = indices(examples, seed, step * batch_size, steps * batch_size)
    return flat.reshape(steps, batch_size)


def evaluation_indices(examples: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """All examples once, in order: index i32[K, B], and mask bool[K, B], False for padding."""
    count = ceil_div(examples, batch_size)
    position = np.arange(count * batch_size).reshape(count, batch_size)
    return np.minimum(position, examples - 1).astype(np.int32), position < examples
