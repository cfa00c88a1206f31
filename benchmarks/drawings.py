"""Draw JPEGs that cost as much to decode as photographs, for lack of photographs."""

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 375, 500


def draw(folder: Path, count: int) -> None:
    """Write `count` images, about 100 kB each, with details of all sizes, as an image_folder."""
    random = np.random.default_rng(0)
    for i in range(count):
        image = np.zeros((HEIGHT, WIDTH, 3))
        for side in (4, 16, 64, 250):
            rough = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            smooth = Image.fromarray(rough).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
            image += np.asarray(smooth) / side**0.4
        image *= 255 / image.max()
        path = folder / "train" / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(path, quality=90)
