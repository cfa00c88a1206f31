"""Draws JPEGs as real folders have them: of mixed sizes, gray, CMYK, very wide, very tall."""

import numpy as np
from PIL import Image

KINDS = (  # height, width, mode
    *((60, 80, "RGB"), (80, 60, "RGB"), (64, 64, "L"), (50, 70, "CMYK"), (40, 200, "RGB")),
    *((210, 42, "L"), (96, 128, "CMYK"), (71, 53, "RGB")),
)


def draw(folder, train=32, val=10, classes=3):
    """Write train/<class>/*.jpg and val/<class>/*.jpg to `folder`, all kinds in both."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for i in range(count):
            height, width, mode = KINDS[i % len(KINDS)]
            y, x = np.mgrid[:height, :width]
            wave = np.sin(x / rng.uniform(3, 20) + y / rng.uniform(3, 20))[..., None]
            image = 128 + 60 * wave * rng.uniform(0.3, 1, 3) + rng.normal(0, 20, (height, width, 3))
            path = folder / part / f"class{i % classes}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).convert(mode)
            picture.save(path, quality=85)
    return folder
