"""The order of examples: a pure function of (number of examples, seed, position).

Positions 0, 1, 2, ... run through one random permutation of the examples per epoch. Batch k holds
positions kB to (k+1)B - 1 and may straddle two epochs. There is no iterator and no state, so any
process can jump to any step.
"""

from functools import lru_cache

import numpy as np

from cnn_archs.arithmetic import ceil_div


@lru_cache(maxsize=16)  # 5 MB each for ImageNet; each seed uses two at a time
def permutation(examples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the examples in an epoch (from 0), i32[examples]."""
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(examples)
    return order.astype(np.int32)


def indices(examples: int, seed: int, start: int, count: int) -> np.ndarray:
    """Return the examples at positions start, ..., start + count - 1, i32[count]."""
    epochs = range(start // examples, (start + count - 1) // examples + 1)
    order = np.concatenate([permutation(examples, seed, e) for e in epochs])
    first = start - epochs.start * examples
    return order[first : first + count]


def batch_indices(examples: int, seed: int, step: int, steps: int, batch_size: int) -> np.ndarray:
    """Return the examples of the `steps` batches from `step` on, i32[steps, batch_size]."""
    flat = indices(examples, seed, step * batch_size, steps * batch_size)
    return flat.reshape(steps, batch_size)


def evaluation_indices(examples: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return batches of all examples once, in order, and a mask that is False for padding.

    index: i32[K, B]; mask: bool[K, B].
    """
    count = ceil_div(examples, batch_size)
    position = np.arange(count * batch_size).reshape(count, batch_size)
    return np.minimum(position, examples - 1).astype(np.int32), position < examples
