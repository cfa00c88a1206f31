"""A batch in host memory that threads fill, and the random numbers of its rows."""

import threading

import numpy as np


class ThreadGenerator(threading.local):
    """One random generator per thread, seeded anew for each position in the order of training.

    Setting the key of a generator takes a quarter of the time that making one does.
    """

    def __init__(self) -> None:
        # The counter keeps these numbers apart from the sampler's, whose keys are [seed, epoch].
        self.bits = np.random.Philox(key=[0, 0], counter=[0, 0, 0, 1])
        self.fresh = self.bits.state
        self.generator = np.random.Generator(self.bits)

    def seeded(self, seed: int, position: int) -> np.random.Generator:
        """Return this thread's generator, with the key [seed, position] until the next call."""
        self.fresh["state"]["key"][:] = seed, position
        self.bits.state = self.fresh
        return self.generator


thread_generator = ThreadGenerator()


class HostBatch:
    """The rows of a batch that this process reads: images u8[R, *size, C] and labels i32[R].

    index: the examples, i64[R]. mask: bool[R], False for padding, and for damaged examples that an
    evaluation skips. positions: of the examples in the order of training, i64[R]; an example's
    random numbers depend only on the seed and its position. seed: None for evaluation, which draws
    no random numbers.
    """

    def __init__(
        self,
        index: np.ndarray,
        mask: np.ndarray,
        size: tuple[int, int],
        channels: int,
        seed: int | None,
        positions: np.ndarray,
    ):
        self.index, self.mask, self.seed, self.positions = index, mask, seed, positions
        self.images = np.zeros((len(index), *size, channels), np.uint8)
        self.labels = np.zeros(len(index), np.int32)

    def row_generator(self, row: int) -> np.random.Generator | None:
        """Return the generator of a row's random numbers; None for evaluation."""
        if self.seed is None:
            return None
        return thread_generator.seeded(self.seed, int(self.positions[row]))
