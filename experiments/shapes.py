"""What augmentation is for: circles, rectangles and triangles, 15 drawings of each to learn from.

python launch.py train --config=experiments/shapes.py:augmented
Expected: on `challenge`, drawings turned, moved and distorted beyond what the augmentation does, an
    accuracy at least 10 points higher than `plain` has (lecture notes; the drawings are ours).
The ranges of `augmented` are those of the notes' demonstration of their generator.
"""

from experiments import base

ARGUMENTS = ("plain", "augmented")


def get_config(variant="augmented"):
    generator = dict(
        name="generator", rotation_range=90.0, width_shift_range=0.1, height_shift_range=0.1,
        zoom_range=0.3, horizontal_flip=True, vertical_flip=True, fill_mode="nearest",
    )  # fmt: skip
    return base.config(
        model=dict(name="cnn", widths=(16, 32), hidden=64, num_classes=3),
        data=dict(name="shapes", batch_size=9),
        augment=generator if variant == "augmented" else dict(name="none"),
        optimizer=dict(name="adam"),
        schedule=dict(learning_rate=1e-3),
        epochs=100.0,
        eval_every=20.0,
        checkpoint_every=50.0,
        seeds=5,
    )
