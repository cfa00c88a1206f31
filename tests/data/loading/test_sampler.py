"""The order of examples: a pure function that gives every example once per epoch."""

import numpy as np
import pytest

from cnn_archs.data.loading import sampler

AWKWARD = [(10, 3), (10, 10), (10, 7), (7, 10), (5, 23), (1, 4), (97, 32), (12, 1)]


@pytest.mark.parametrize("examples, batch_size", AWKWARD)
def test_every_example_once_an_epoch(examples, batch_size):
    """batch_size epochs are exactly `examples` batches, whichever batches straddle epochs."""
    flat = sampler.batch_indices(examples, 0, 0, examples, batch_size).reshape(batch_size, examples)
    assert (np.sort(flat, axis=1) == np.arange(examples)).all()


@pytest.mark.parametrize("examples, batch_size", AWKWARD)
def test_a_batch_alone_is_the_batch_in_its_sequence(examples, batch_size):
    steps = 20
    together = sampler.batch_indices(examples, 3, 0, steps, batch_size)
    assert together.shape == (steps, batch_size) and together.dtype == np.int32
    sampler.permutation.cache_clear()
    for step in reversed(range(steps)):
        alone = sampler.batch_indices(examples, 3, step, 1, batch_size)
        assert (alone[0] == together[step]).all()
    assert (sampler.batch_indices(examples, 3, 7, 5, batch_size) == together[7:12]).all()


def test_a_batch_straddles_two_epochs():
    """Batch 2 of 4 of 10 examples is the last 2 of epoch 0 and the first 2 of epoch 1."""
    batch = sampler.batch_indices(10, 0, 2, 1, 4)[0]
    first, second = sampler.permutation(10, 0, 0), sampler.permutation(10, 0, 1)
    assert batch.tolist() == [*first[8:], *second[:2]]


def test_a_batch_may_be_larger_than_several_epochs():
    batch = sampler.batch_indices(3, 0, 1, 1, 8)[0]  # positions 8 to 15
    epochs = [sampler.permutation(3, 0, e) for e in range(6)]
    assert batch.tolist() == np.concatenate(epochs)[8:16].tolist()


def test_indices_are_positions_of_one_long_sequence():
    sequence = np.concatenate([sampler.permutation(7, 5, e) for e in range(10)])
    for start, count in [(0, 1), (6, 1), (7, 1), (6, 2), (0, 7), (0, 70), (13, 22), (69, 1)]:
        found = sampler.indices(7, 5, start, count)
        assert found.tolist() == sequence[start : start + count].tolist()


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = [sampler.permutation(100, seed, epoch) for seed in range(5) for epoch in range(5)]
    assert len({o.tobytes() for o in orders}) == 25
    for o in orders:
        assert (np.sort(o) == np.arange(100)).all()
    assert (sampler.permutation(100, 0, 1) != sampler.permutation(100, 1, 0)).any()


def test_every_place_is_equally_likely():
    """In 4,000 epochs, example 0 of 4 is 1,000 times at each place, within 4 deviations of 27."""
    places = [int(np.flatnonzero(sampler.permutation(4, 0, e) == 0)[0]) for e in range(4_000)]
    assert np.abs(np.bincount(places, minlength=4) - 1_000).max() < 4 * np.sqrt(4_000 * 3 / 16)


@pytest.mark.parametrize("examples, batch_size", AWKWARD)
def test_evaluation_counts_every_example_once(examples, batch_size):
    index, mask = sampler.evaluation_indices(examples, batch_size)
    assert index.shape == mask.shape == (-(-examples // batch_size), batch_size)
    assert index[mask].tolist() == list(range(examples))
    assert ((index >= 0) & (index < examples)).all()  # the padding can be read, too
    assert mask.sum() == examples and mask[:-1].all()
