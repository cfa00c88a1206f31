"""The order of examples and the masks of padded batches, for any sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_archs.data.loading import sampler
from cnn_archs.distributed import multihost

sizes = st.integers(1, 300)
seeds = st.integers(0, 2**31 - 1)


@given(examples=sizes, seed=seeds, epoch=st.integers(0, 10**6))
def test_each_epoch_is_a_permutation(examples, seed, epoch):
    found = sampler.indices(examples, seed, epoch * examples, examples)
    assert sorted(found.tolist()) == list(range(examples))


@given(examples=sizes, seed=seeds, step=st.integers(0, 10**5), batch_size=sizes, data=st.data())
def test_a_run_that_is_stopped_anywhere_goes_on_with_the_next_batch(
    examples, seed, step, batch_size, data
):
    """The batches of a run are those before a stop followed by those after it."""
    steps = data.draw(st.integers(2, 8))
    stop = data.draw(st.integers(1, steps - 1))
    whole = sampler.batch_indices(examples, seed, step, steps, batch_size)
    before = sampler.batch_indices(examples, seed, step, stop, batch_size)
    after = sampler.batch_indices(examples, seed, step + stop, steps - stop, batch_size)
    assert (np.concatenate([before, after]) == whole).all()


@given(examples=sizes, batch_size=st.integers(1, 400))
def test_an_evaluation_counts_each_example_once(examples, batch_size):
    index, mask = sampler.evaluation_indices(examples, batch_size)
    assert index.shape == mask.shape and index.shape[1] == batch_size
    assert index[mask].tolist() == list(range(examples))
    assert index.min() >= 0 and index.max() < examples
    assert mask.any(axis=1).all()  # no batch is only padding


@given(count=st.integers(0, 300), processes=st.integers(1, 17))
def test_processes_have_equal_shares_and_no_example_twice(count, processes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multihost.jax, "process_count", lambda: processes)
        shares = []
        for process in range(processes):
            patch.setattr(multihost.jax, "process_index", lambda process=process: process)
            shares.append(multihost.local_indices(count))
    assert sorted(np.concatenate(shares).tolist()) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
