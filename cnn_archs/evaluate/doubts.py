"""Tell the user about images that a network probably does not see as they are meant.

Such an image is a black digit on white paper for a network that was trained on white digits, one
that is nearly of one color after decoding, or one that a camera has stored turned.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from cnn_archs.data.datasets.splits import border_mean
from cnn_archs.data.loading.decode import is_turned

DARK, BRIGHT = 64, 191  # a background that is darker or brighter is the same in all images
LEAST_CONTRAST = 16  # between the darkest and the brightest value, of 255


def find_doubts(encoded: bytes, image: np.ndarray, background: float | None) -> list[str]:
    """Return what is doubtful about an image: `turned`, and `faint` or `negative`.

    encoded, image: as it is stored and as the network sees it, u8[H, W, C]. background: the mean
    value at the border of the training images; None if it is not known.
    """
    found = ["turned"] if is_turned(encoded) else []
    if int(image.max()) - int(image.min()) < LEAST_CONTRAST:
        return [*found, "faint"]
    if background is not None and is_negative(border_mean(image[None]), background):
        return [*found, "negative"]
    return found


class Doubts:
    """Collects the names of images by what is doubtful about them."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {"negative": [], "faint": [], "turned": []}

    def add(self, name: str, doubts: Iterable[str]) -> None:
        """Add what `find_doubts` has found about an image."""
        for doubt in doubts:
            self.names[doubt].append(name)

    def notes(self, images: int, *, inverted: bool) -> list[str]:
        """Return a line for each kind of doubt. inverted: whether the images are negatives."""
        remedy = "predict them without --invert" if inverted else "--invert predicts the negatives"
        kinds = (
            (
                self.names["negative"],
                f"light where the training images are dark, or dark where they are light: {remedy}",
            ),
            (self.names["faint"], "nearly of one color as the network sees them"),
            (
                self.names["turned"],
                "marked by the camera as turned (EXIF), which is ignored, as in training: turn the "
                "pixels themselves",
            ),
        )
        return [f"{count(names, images)} {what}" for names, what in kinds if names]


def count(names: Sequence[str], images: int) -> str:
    """Return the beginning of a line about some of the images: their number and the first name."""
    if images == 1:
        return f"{names[0]} is"
    verb = "is" if len(names) == 1 else "are"
    return f"{len(names):,} of {images:,} images ({names[0]}{', ...' * (len(names) > 1)}) {verb}"


def is_negative(border: float, background: float) -> bool:
    """Return whether the border of an image is that of the negative of the training images."""
    return border > 127.5 if background < DARK else border < 127.5 and background > BRIGHT
