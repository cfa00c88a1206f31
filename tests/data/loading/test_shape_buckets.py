"""Images resized as a whole: their sizes and shapes, and their batches."""

import numpy as np
import pytest
from PIL import Image

from cnn_archs.data.datasets.splits import Record, Records
from cnn_archs.data.loading import shape_buckets
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms import crops
from cnn_archs.errors import DataError


def split(tmp_path, sizes, on_corrupt="raise", broken=()):
    """Write images of gray value 3 i and the given sizes; those in `broken` are cut off."""
    paths = [tmp_path / f"{i}.png" for i in range(len(sizes))]
    for i, (path, (height, width)) in enumerate(zip(paths, sizes, strict=True)):
        Image.fromarray(np.full((height, width, 3), 3 * i, np.uint8)).save(path)
        if i in broken:
            path.write_bytes(path.read_bytes()[:-20])
    records = Records(
        lambda i: Record(paths[i].read_bytes(), i % 3, str(paths[i])),
        np.arange(len(sizes)),
        None,
        ("a", "b", "c"),
    )
    return Streamed(records, crops.create("none", (8, 8)), on_corrupt=on_corrupt, threads=2)


@pytest.mark.parametrize(
    "size, whole, cut",
    [
        ((300, 400), (256, 341), (256, 320)),  # VGG: 341 pixels, of which 10 times 32
        ((400, 300), (341, 256), (320, 256)),
        ((256, 256), (256, 256), (256, 256)),
        ((100, 110), (256, 281), (256, 256)),
        ((100, 1000), (256, 2560), (256, 2560)),
    ],
)
def test_the_shorter_side_is_as_asked_and_the_longer_one_in_proportion(size, whole, cut):
    box, out = shape_buckets.whole_resize(256)(*size)
    assert (box, out) == ((0, 0, *size), whole)
    box, out = shape_buckets.trimmed_resize(256, 32)(*size)
    assert out == cut
    scale = (whole[0] / size[0], whole[1] / size[1])
    assert (box.height * scale[0], box.width * scale[1]) == pytest.approx(cut)
    left = (box.top * scale[0], box.left * scale[1])  # as much on either side, to a pixel
    assert left == pytest.approx([(a - b) / 2 for a, b in zip(whole, cut, strict=True)], abs=0.5)


def test_a_side_that_is_no_multiple_is_kept():
    assert shape_buckets.trimmed_resize(37, 5)(40, 60)[1] == (37, 55)


def test_the_longer_side_is_padded():
    assert shape_buckets.pad_shape((256, 341), 64) == (256, 384)
    assert shape_buckets.pad_shape((341, 250), 64) == (384, 250)
    assert shape_buckets.pad_shape((37, 37), 64) == (37, 37)


@pytest.mark.parametrize("rows", [1, 3, 4, 50])
def test_every_example_is_in_one_batch_of_its_shape(tmp_path, rows):
    sizes = [(20, 30), (30, 20), (20, 33), (25, 25), (20, 50)] * 4
    data = split(tmp_path, sizes)
    found = list(
        shape_buckets.bucketed_batches(data, shape_buckets.whole_resize(10), 8, lambda *_: rows)
    )
    numbers = np.concatenate([batch.examples[batch.mask] for batch in found])
    assert sorted(numbers) == list(range(20))
    assert len(found) == sum(-(-n // rows) for n in (8, 4, 4, 4))  # (10, 16), (16, 10), ...
    for batch in found:
        assert len(batch.images) == len(batch.mask) == rows
        for image, size, i, label in zip(*batch[:4], strict=True):
            height, width = size
            assert tuple(size) == shape_buckets.whole_resize(10)(*sizes[i])[1] and label == i % 3
            assert (image[:height, :width] == 3 * i).all()
            assert not image[height:].any() and not image[:, width:].any()


def test_batches_are_the_same_each_time(tmp_path):
    data = split(tmp_path, [(20, 30), (30, 20)] * 20)
    first, second = (
        [
            b.examples.tolist()
            for b in shape_buckets.bucketed_batches(
                data, shape_buckets.trimmed_resize(9, 2), 1, rows_of
            )
        ]
        for _ in range(2)
    )
    assert first == second


def rows_of(shape, left):
    return 4 if shape[0] < shape[1] else 3


def test_a_damaged_example_is_named_or_skipped(tmp_path):
    sizes = [(20, 30)] * 12
    with pytest.raises(DataError, match="5.png"):
        list(shape_buckets.bucketed_batches(split(tmp_path, sizes, broken=(5,)), FIT, 1, rows_of))
    data = split(tmp_path, sizes, "skip", broken=(5,))
    found = list(shape_buckets.bucketed_batches(data, FIT, 1, rows_of))
    assert sorted(np.concatenate([b.examples[b.mask] for b in found])) == [*range(5), *range(6, 12)]
    assert data.damaged == 1


FIT = shape_buckets.whole_resize(10)


def test_what_evaluation_delivers(tmp_path):
    crop = crops.create("square", (8, 8), side=10, resize="shorter")
    box, size = shape_buckets.evaluation_resize(crop)(40, 60)
    assert size == (10, 10) and box == crop.evaluation_box(40, 60)
