"""The memory of an evaluation does not grow with the number of images or of scales.

Run as a script, this file is the process whose memory is measured.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

SIDES = ((375, 500), (500, 375), (480, 640))
GIB = 2**20  # KiB


def measure(count):
    """Return the peak memory (KiB) of a process that tests VGG-D on `count` images of noise."""
    import resource

    import drawn
    import jax
    from jax.sharding import AxisType

    from cnn_archs import models
    from cnn_archs.data.transforms import crops
    from cnn_archs.evaluate import protocols, views

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*SIDES[i % 3], 3), np.uint8) for i in range(count)]
    crop = crops.create("shorter_side", (224, 224), smallest=256, largest=512, evaluate=384)
    model = models.create("vgg_d", num_classes=len(drawn.CLASSES))
    net = drawn.network(crop, resident=False, model=model)
    variables = models.init(model, jax.random.key(0), net.image_shape)
    mesh = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    protocols.mean_probabilities(
        net,
        [variables],
        drawn.streamed(images),
        views.protocol_passes("multi_scale", crop, ()),
        {"mean": np.zeros((1, 1, 3), np.float32)},
        250,
        mesh,
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.slow
def test_twelve_photographs_take_as_much_memory_as_four():
    peaks = []
    for count in (4, 12):
        environment = {**os.environ, "XLA_FLAGS": ""}
        out = subprocess.run(
            [sys.executable, __file__, str(count)],
            env=environment, capture_output=True, text=True, timeout=3_000,
        )  # fmt: skip
        assert out.returncode == 0, out.stderr[-2_000:]
        peaks.append(int(out.stdout.split()[-1]))
    four, twelve = peaks
    assert twelve < 1.1 * four
    assert twelve < 4 * GIB


if __name__ == "__main__":
    print(measure(int(sys.argv[1])))
