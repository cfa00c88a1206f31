"""Draw a sheet of predicted images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

from cnn_archs.evaluate.predict import Predictor, read_image
from cnn_archs.visualize import figures
from cnn_archs.visualize.figures import HIT, MISS, CaptionedImage, shorten

MOST_PREDICTIONS = 500  # images in a sheet of predictions, at most


def write_predictions(
    run: Predictor, found: Sequence[dict[str, Any]], output: Path, *, invert: bool
) -> None:
    """Write a PNG of the predicted images, as the network sees them. invert: as negatives.

    Each image has its most probable class and the probability. Its frame shows whether that class
    is the true one, if `class_named_by` finds it.
    """
    shown, hits, known = [], 0, 0
    for p in found[:MOST_PREDICTIONS]:
        path, best = Path(p["file"]), p["top"][0]
        true = class_named_by(path, run.class_names)
        caption = f"{shorten(best['class'], 16)} {100 * best['probability']:.1f} %"
        frame = "none" if true is None else HIT if true == best["class"] else MISS
        if frame == MISS:
            caption += f"\nis {shorten(str(true), 18)}"
        known, hits = known + (true is not None), hits + (frame == HIT)
        shown.append(
            CaptionedImage(
                read_image(path, run.experiment, invert=invert),
                f"{shorten(path.name, 20)}\n{caption}",
                frame,
            )
        )
    title = f"{run.experiment.name} on {len(shown):,} of {len(found):,} images"
    title += f": right on {hits:,} of the {known:,} whose class is known" if known else ""
    figures.draw_gallery(shown, title, output)


def class_named_by(path: Path, names: Sequence[str]) -> str | None:
    """Return the class that an image's path names, or None.

    It is the name of a folder, the nearest first, or the file's name up to the first dot, as in
    cat.0.jpg; decomposed Unicode counts as composed.
    """
    words = [path.resolve().parent.name, *(p.name for p in path.resolve().parent.parents)]
    if path.name.count(".") > 1:
        words.append(path.name.split(".")[0])
    return next((word for word in (normalize("NFC", w) for w in words) if word in names), None)
