"""Checks of what happens to images before a network sees them: means, crops, colors.

experiment: as in `recipes.py`. Each check returns AS_STATED, or says what is otherwise.
"""

from collections.abc import Sequence

import jax
import numpy as np

from cnn_archs.claims.checks.formulas import Array
from cnn_archs.claims.checks.observed import (
    SEED,
    Otherwise,
    compare,
    function_check,
    quick_jit,
    wide,
)
from cnn_archs.claims.checks.recipes import config, settings_of
from cnn_archs.data.transforms import color
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.experiment_inputs import make_preprocessor

SIGMAS = 5.0  # standard errors by which a drawn deviation or share may differ
DRAWS = 1000


def inputs_of(experiment: str) -> Preprocessor:
    """Return the preprocessing of an experiment's images, which the host has resized."""
    return make_preprocessor(
        config(experiment), settings_of(experiment).image_shape, resident=False
    )


def factor(inputs: Preprocessor) -> float:
    """Return what a difference of 1 between pixels of 0 to 255 is to the network."""
    low, high = inputs.pixel_range
    return (high - low) / 255


@function_check
def padded_digits(experiment: str, border: int, background: float, foreground: float) -> None:
    """Check that 0 and 255 become background and foreground, and that a border is background."""
    random = np.random.default_rng(SEED)
    digits = random.integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    found = quick_jit(lambda x: inputs_of(experiment).make_preprocess({})(None, x))(digits)
    around = np.pad(wide(digits), ((0, 0), (border, border), (border, border), (0, 0)))
    compare(found, background + around * (foreground - background) / 255, "the images")


@function_check
def subtracted_means(experiment: str, side: int, of: str) -> None:
    """Check that a tested image is the center of the image minus the mean.

    side: pixels of the delivered image. of: `pixel`, the mean of each position, or `channel`.
    """
    random, inputs = np.random.default_rng(SEED), inputs_of(experiment)
    images = random.integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    shape = (side, side, 3) if of == "pixel" else (1, 1, 3)
    mean = random.uniform(90.0, 150.0, shape).astype(np.float32)
    prepare = quick_jit(lambda x, m: inputs.make_preprocess({"mean": m})(None, x))
    height, width = inputs.crop.out
    top, left = (side - height) // 2, (side - width) // 2
    center = (wide(images) - mean)[:, top : top + height, left : left + width]
    compare(prepare(images, mean), center * factor(inputs), "the images")


@function_check
def random_parts(experiment: str, side: int, border: int = 0) -> None:
    """Check that training images are parts at random places, and that half of them are mirrored.

    side: pixels of the delivered image. border: zeros around it. The pixels of the images tell
    their own row and column.
    """
    inputs, images, first = inputs_of(experiment), 16, 1 if border else 0
    rows, columns = np.mgrid[:side, :side] + first
    image = np.stack([rows, columns, np.ones_like(rows)], -1)
    whole = np.pad(wide(image), ((border, border), (border, border), (0, 0)))
    mean = np.zeros((side, side, 3), np.float32)
    prepare = quick_jit(lambda key, x: inputs.make_preprocess({"mean": mean})(key, x))
    delivered = np.tile(image.astype(np.uint8), (images, 1, 1, 1))
    found = wide(prepare(jax.random.key(SEED), delivered)) / factor(inputs)
    height, width = found.shape[1:3]
    places = []
    for part in found:
        middle, next_to_it = part[height // 2, width // 2 : width // 2 + 2, :2]
        row, column = np.rint(middle).astype(int) - first + border
        mirrored = next_to_it[1] < middle[1]
        top, left = row - height // 2, column - width // 2
        if mirrored:
            left = column - (width - 1 - width // 2)
        stated = whole[top : top + height, left : left + width]
        compare(part, stated[:, ::-1] if mirrored else stated, "an image")
        places.append((top, left, mirrored))
    tops, lefts, turned = map(np.array, zip(*places, strict=True))
    last = side + 2 * border - height
    for name, at in (("rows", tops), ("columns", lefts)):
        if np.ptp(at) < 0.5 * last:
            raise Otherwise(f"the parts begin in {name} {at.min()} to {at.max()} only")
    if not 0.2 <= turned.mean() <= 0.8:
        raise Otherwise(f"{100 * turned.mean():.0f} % of the images are mirrored")


@function_check
def color_noise(experiment: str, sigma: float) -> None:
    """Check that an image gets the sum of p_i a_i l_i, a_i of deviation sigma, at all its pixels.

    p_i and l_i are the directions and the variances of color; see `color.pca`.
    """
    gray = np.full((DRAWS, 2, 2, 3), 128.0, np.float32)
    changed = quick_jit(inputs_of(experiment).color)(jax.random.key(SEED), gray)
    noise = (wide(changed) - 128.0) / 255
    compare(noise, np.broadcast_to(noise[:, :1, :1], noise.shape).copy(), "a pixel")
    directions = color.DIRECTIONS.astype(np.float64)
    multiples = noise[:, 0, 0] @ np.linalg.inv(directions) / color.VARIANCES
    for deviation in multiples.std(0):
        if abs(deviation / sigma - 1) > SIGMAS / (2 * DRAWS) ** 0.5:
            raise Otherwise(f"multiples have a deviation of {deviation:.2g}")


@function_check
def random_regions(experiment: str, area: Sequence[float], aspect: Sequence[float]) -> None:
    """Check that crops have random shares of the image's area, and random aspect ratios."""
    crop, random = inputs_of(experiment).crop, np.random.default_rng(SEED)
    boxes = [crop.host_box(2000, 2000, random) for _ in range(DRAWS)]
    sizes = np.array([(box.height, box.width) for box in boxes])
    within("areas", sizes.prod(1) / 2000**2, *area)
    within("aspect ratios", sizes[:, 1] / sizes[:, 0], *aspect)


@function_check
def random_scales(experiment: str, smallest: int, largest: int) -> None:
    """Check that the shorter side is a random whole number of pixels between two limits."""
    crop, random = inputs_of(experiment).crop, np.random.default_rng(SEED)
    boxes = [crop.host_box(2000, 3000, random) for _ in range(DRAWS)]
    sides = np.array([crop.out[0] * 2000 / box.height for box in boxes])
    compare(sides, np.rint(sides), "the shorter side")
    within("shorter sides", np.rint(sides), smallest, largest)


def within(what: str, values: Array, low: float, high: float) -> None:
    """Raise Otherwise unless the values fill the range from low to high, to 5 % of it."""
    near = 0.05 * (high - low)
    least, most = values.min(), values.max()
    if not (low - 0.1 * near <= least <= low + near and high - near <= most <= high + 0.1 * near):
        raise Otherwise(f"the {what} are from {least:.3g} to {most:.3g}")


IMAGE_FUNCTIONS = (
    *(padded_digits, subtracted_means, random_parts, color_noise, random_regions, random_scales),
)
