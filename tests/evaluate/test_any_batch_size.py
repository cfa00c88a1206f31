"""The sums of an evaluation do not depend on the size of its batches, nor on what fills them up."""

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnn_archs.data.loading import sampler, shape_buckets
from cnn_archs.data.loading.shape_buckets import DecodedExample
from cnn_archs.metrics import MetricSums

CLASSES = 6
sums = jax.jit(MetricSums.from_logits)


@given(
    examples=st.integers(1, 40),
    batch_size=st.sampled_from([1, 7, 64]),  # each is compiled
    seed=st.integers(0, 2**31 - 1),
)
def test_each_example_counts_once_and_padding_nowhere(examples, batch_size, seed):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(examples, CLASSES)).astype(np.float32)
    label = random.integers(0, CLASSES, examples).astype(np.int32)
    loss = random.integers(0, 100, examples).astype(np.float32)  # whole: sums are exact
    total = MetricSums.zeros()
    for index, mask in zip(*sampler.evaluation_indices(examples, batch_size), strict=True):
        broken = np.where(mask, loss[index], np.nan)  # what is masked may be anything
        arguments = (logits[index], label[index], broken.astype(np.float32), mask)
        total += sums(*arguments)
    hits = (logits > logits[np.arange(examples), label][:, None]).sum(axis=1)
    assert (int(total.examples), float(total.loss)) == (examples, loss.sum())
    assert (int(total.top1), int(total.top5)) == ((hits < 1).sum(), (hits < 5).sum())


@given(count=st.integers(1, 9), more=st.integers(0, 9), seed=st.integers(0, 2**31 - 1))
def test_a_batch_of_a_shape_is_filled_up_with_masked_rows(count, more, seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 6, (count, 2))
    some = [
        DecodedExample(10 * i, i, random.integers(0, 256, (*size, 3), dtype=np.uint8))
        for i, size in enumerate(sizes)
    ]
    batch = shape_buckets.make_batch(some, (7, 8), count + more)
    assert batch.images.shape == (count + more, 7, 8, 3)
    assert batch.examples[batch.mask].tolist() == [10 * i for i in range(count)]
    assert batch.mask.sum() == count and not batch.mask[count:].any()
    for example, image, (height, width) in zip(some, batch.images, batch.sizes, strict=False):
        assert (image[:height, :width] == example.image).all()
        assert not image[height:].any() and not image[:, width:].any()
