"""Circles, rectangles and triangles as if drawn with a pen, 64x64x3, the same on every machine.

They are modeled on the toy dataset of the lecture notes. Each class has 15 images to train on and
5 to test on, upright and near the middle, and 5 challenge images: rotated by any angle, moved by up
to a sixth of the side, at half size to full size, stretched and sheared. The challenge varies more
than the notes' augmentation of the training images does (rotation of 90 degrees, shifts of 0.1,
zoom of 0.3, flips), but that augmentation helps.
"""

import numpy as np
from PIL import Image, ImageDraw

from cnn_archs.errors import ConfigError

CLASSES = ("circle", "rectangle", "triangle")
IMAGES_PER_CLASS = {"train": 15, "test": 5, "challenge": 5}  # by split
SIDE = 64  # pixels
OVERSAMPLING = 4  # the canvas is this many times as large; its squares are averaged


def draw_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw a split: images u8[N, 64, 64, 3], class after class, and labels i32[N].

    Raises ConfigError for an unknown split.
    """
    if split not in IMAGES_PER_CLASS:
        raise ConfigError(f"shapes has no split {split!r}, only {', '.join(IMAGES_PER_CLASS)}")
    random = np.random.Generator(np.random.Philox(key=[0, list(IMAGES_PER_CLASS).index(split)]))
    labels = np.repeat(np.arange(len(CLASSES)), IMAGES_PER_CLASS[split]).astype(np.int32)
    return np.stack([draw_shape(CLASSES[k], split == "challenge", random) for k in labels]), labels


def draw_shape(kind: str, challenge: bool, random: np.random.Generator) -> np.ndarray:
    """Draw one shape with a dark line on light paper, u8[64, 64, 3]."""
    points = place_at_random(draw_outline(kind, random), challenge, random) * (SIDE * OVERSAMPLING)
    paper = tuple(int(v) for v in random.integers(235, 256, 3))
    pen = tuple(int(v) for v in random.integers(0, 90, 3))
    canvas = Image.new("RGB", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING), paper)
    line = [(float(x), float(y)) for x, y in (*points, *points[:2])]
    width = int(random.integers(2 * OVERSAMPLING, 3 * OVERSAMPLING + 1))
    ImageDraw.Draw(canvas).line(line, fill=pen, width=width, joint="curve")
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX))


def draw_outline(kind: str, random: np.random.Generator) -> np.ndarray:
    """Return x and y of points on the shape's outline, about 1 from (0, 0), f64[120, 2].

    The line wavers like one drawn by hand.
    """
    if kind == "circle":
        angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        points = np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        points = np.concatenate(
            [
                a + (b - a) * np.linspace(0, 1, 120 // len(corners(kind)), endpoint=False)[:, None]
                for a, b in edges(corners(kind) + random.normal(0, 0.04, corners(kind).shape))
            ]
        )
    return points + tremor(len(points), random)


def corners(kind: str) -> np.ndarray:
    """Return x and y of the corners, f64[K, 2]; y points down."""
    if kind == "rectangle":
        return np.array([(-1.0, -0.65), (1.0, -0.65), (1.0, 0.65), (-1.0, 0.65)])
    return np.array([(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)])


def edges(points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each corner with the next one; the first follows the last."""
    return list(zip(points, np.roll(points, -1, 0), strict=True))


def tremor(count: int, random: np.random.Generator) -> np.ndarray:
    """Return how far an unsteady hand strays from a line: a few slow waves, f64[count, 2]."""
    position = np.linspace(0, 2 * np.pi, count, endpoint=False)
    wave = np.arange(2, 6)
    phase = random.uniform(0, 2 * np.pi, (4, 2))
    size = random.normal(0, 0.014, (4, 2))
    return (size[None] * np.sin(wave[None, :, None] * position[:, None, None] + phase[None])).sum(1)


def place_at_random(points: np.ndarray, challenge: bool, random: np.random.Generator) -> np.ndarray:
    """Rotate, scale, stretch, shear and move points; x and y become fractions of the side."""
    limits = (np.pi, 0.3, 0.25, 0.17) if challenge else (0.08, 0.08, 0.0, 0.04)
    turn, stretch, shear, away = (random.uniform(-limit, limit, 2) for limit in limits)
    radius = random.uniform(0.15, 0.32) if challenge else random.uniform(0.25, 0.33)
    c, s = np.cos(turn[0]), np.sin(turn[0])
    form = np.array([[c, -s], [s, c]]) @ np.array([[1, shear[0]], [0, 1]])
    form = form @ np.diag(np.exp(stretch / 2)) * radius
    return 0.5 + away[None] + points @ form.T
