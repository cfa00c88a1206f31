"""Crops of images of any size with any knobs lie in the image, on the host as on the device."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnn_archs.data.transforms import crops

sides = st.integers(1, 64)
shares = st.floats(0.01, 1.0)


@st.composite
def any_crop(draw: Any) -> crops.Crop:
    """Draw a crop with knobs that are allowed."""
    name = draw(st.sampled_from(sorted(crops.CROPS)))
    out = draw(st.tuples(sides, sides))
    more = st.integers(max(out), max(out) + 64)
    if name == "pad":
        return crops.create(name, out, pixels=draw(st.integers(0, 9)))
    if name == "square":
        resize = draw(st.sampled_from(["shorter", "warp"]))
        return crops.create(name, out, side=draw(more), resize=resize)
    if name == "shorter_side":
        smallest, largest = sorted([draw(more), draw(more)])
        return crops.create(name, out, smallest=smallest, largest=largest, evaluate=draw(more))
    if name == "inception":
        area, low = sorted([draw(shares), draw(shares)]), draw(st.floats(0.2, 1.0))
        aspect = (low, draw(st.floats(low, 5.0)))
        return crops.create(name, out, area=tuple(area), aspect=aspect, evaluate=draw(more))
    if name == "deslant":
        return crops.create(name, out, side=draw(more))
    if name == "reduce":
        after = draw(sides)
        return crops.create(name, out, before=after + draw(sides), after=after)
    return crops.create(name, out)


@given(crop=any_crop(), height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0))
def test_a_region_lies_in_its_image_and_is_not_empty(crop, height, width, seed):
    for random in (None, np.random.default_rng(seed)):
        box = crop.host_box(height, width, random)
        assert box.height > 0 and box.width > 0
        assert box.top >= -1e-6 and box.top + box.height <= height + 1e-6
        assert box.left >= -1e-6 and box.left + box.width <= width + 1e-6


@given(crop=any_crop(), height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0))
def test_the_device_draws_the_region_that_the_host_does(crop, height, width, seed):
    """Both are given the same numbers. The host tries one region after the other, in floats."""
    u = np.random.default_rng(seed).random(crop.draws)
    if isinstance(crop, crops.InceptionCrop):  # where they round alike
        area = height * width * (crop.area[0] + (crop.area[1] - crop.area[0]) * u[:10])
        aspect = crop.aspect[0] * (crop.aspect[1] / crop.aspect[0]) ** u[10:20]
        edges = np.sqrt(np.concatenate([area / aspect, area * aspect]))
        assume((np.abs(edges % 1 - 0.5) > 1e-6).all())
    on_host = crop.host_box(height, width, np.random.default_rng(seed))
    on_device = crop.training_box(u, height, width)
    assert tuple(map(float, on_device)) == pytest.approx(tuple(on_host))
