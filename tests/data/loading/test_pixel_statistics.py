"""Statistics of the training images: exact means, computed once, with damaged files noticed."""

import numpy as np
import pytest

from cnn_archs.data.loading import pixel_statistics
from cnn_archs.errors import DataError

FILE = "statistics.npz"
IMAGES = np.random.default_rng(0).integers(0, 256, (101, 5, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [1, 10, 101])
def test_means_are_exact_however_images_come(size):
    batches = [IMAGES[i : i + size] for i in range(0, 101, size)]
    wide = IMAGES.astype(np.float64)
    pixel, channel = (pixel_statistics.mean_image(kind, batches) for kind in ("pixel", "channel"))
    assert pixel.dtype == channel.dtype == np.float32
    assert (pixel == wide.mean(0).astype(np.float32)).all()
    assert channel.shape == (1, 1, 3)
    np.testing.assert_allclose(channel[0, 0], wide.mean((0, 1, 2)), rtol=1e-7)


def test_they_are_computed_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"mean": IMAGES[0].astype(np.float32)}

    first, second = (pixel_statistics.load_or_compute(tmp_path / FILE, compute) for _ in range(2))
    assert len(calls) == 1
    assert (first["mean"] == second["mean"]).all() and second["mean"].dtype == np.float32
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_where_there_is_nothing_to_know_nothing_is_kept(tmp_path):
    assert pixel_statistics.load_or_compute(tmp_path / FILE, dict) == {} and not list(
        tmp_path.iterdir()
    )


def test_every_flipped_bit_that_changes_a_number_is_noticed(tmp_path):
    """An archive has a checksum of each array; a few of its other bytes have no meaning."""
    mean = IMAGES[0].astype(np.float32)
    pixel_statistics.load_or_compute(tmp_path / FILE, lambda: {"mean": mean})
    path = tmp_path / FILE
    sound = path.read_bytes()
    dice, noticed = np.random.default_rng(1), 0
    for at in dice.integers(0, len(sound), 200):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << dice.integers(8)]) + sound[at + 1 :])
        try:
            found = pixel_statistics.load_or_compute(tmp_path / FILE, dict)
        except DataError as e:
            noticed += 1
            assert FILE in str(e) and "remove it" in str(e) and "\n" not in str(e)
        else:
            assert {k: v.tolist() for k, v in found.items()} == {"mean": mean.tolist()}
    assert noticed > 100


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_a_file_that_was_cut_is_noticed(keep, tmp_path):
    (tmp_path / FILE).write_bytes(b"PK\x03\x04"[:keep] + b"\0" * max(keep - 4, 0))
    with pytest.raises(DataError, match="is damaged: .*remove it"):
        pixel_statistics.load_or_compute(tmp_path / FILE, dict)
