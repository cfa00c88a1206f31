"""Every knob, once: its default, its unit, and the choices that a named section has.

`config(...)` is what an experiment returns. A section with a `name` (optimizer, schedule, ...) has
the fields of the thing it names and no others; `model` has the fields of its flax module, which
are not listed here. Unknown keys are errors at any depth, here and on the command line.
"""

from typing import Any

from ml_collections import ConfigDict

DEFAULTS: dict[str, Any] = dict(
    seed=0,                  # the first seed; the run trains seed, seed + 1, ..., seed + seeds - 1
    seeds=1,                 # how many networks to train, equal in all but their random numbers
    epochs=20.0,             # passes over the training images
    steps=0,                 # optimizer steps; 0: from epochs
    eval_batch_size=1000,    # images
    log_every=100,           # steps between lines of metrics.jsonl
    eval_every=1.0,          # epochs between evaluations
    checkpoint_every=1.0,    # epochs between checkpoints; there is one at the end in any case
    keep=2,                  # checkpoints kept
    deterministic=False,     # XLA's deterministic operations on a GPU: slower, same bits each run
    matmul_precision="default",  # of float32 products: default (TF32 on a GPU), high, highest
    model=dict(name="lenet5"),
    data=dict(
        name="digits",       # digits, or an image-classification dataset of tfds
        data_dir="",         # where tfds keeps its datasets; empty: $TFDS_DATA_DIR, else tfds' own
        batch_size=128,      # images in one optimizer step, over all devices
        holdout=0,           # training images set aside for selection, stratified; 0 for figures
        pixel_range=(0.0, 1.0),  # what pixel values 0 and 255 become
        pad=0,               # pixels of value 0 put around each image
        image_shape=(0, 0, 0),   # height, width, channels that the network sees; 0: the dataset's
    ),
)  # fmt: skip

# fmt: off
CHOICES: dict[str, dict[str, dict[str, Any]]] = dict(
    augment=dict(
        none=dict(),
        shift=dict(pixels=2),                       # moved by up to so many pixels each way
    ),
    loss=dict(
        cross_entropy=dict(),
        rbf_mean=dict(),                            # LeNet-5 1998, equation 8
        rbf_map=dict(j=1.0),                        # equation 9; the paper does not give its j
    ),
    optimizer=dict(
        momentum=dict(momentum=0.9, weight_decay=0.0),  # rate inside the velocity (Caffe, AlexNet)
        adam=dict(b1=0.9, b2=0.999, eps=1e-8),
        sdlm=dict(mu=0.02, samples=500),            # LeNet-5 1998, appendix C
    ),
    schedule=dict(
        constant=dict(learning_rate=0.01),
        piecewise=dict(learning_rate=0.01, factors=(1.0, 0.1), boundaries=(10.0,), unit="epoch"),
        exponential=dict(learning_rate=0.01, factor=0.96, every=1.0, unit="epoch", staircase=False),
        lenet5_paper1998=dict(),                    # the three that are printed for LeNet-5:
        lenet5_notes=dict(),                        # they are whole, and have no knobs
        lenet5_book=dict(),
    ),
)
# fmt: on
FIRST = dict(augment="none", loss="cross_entropy", optimizer="momentum", schedule="constant")


def section(kind: str, name: str) -> dict[str, Any]:
    """The section `kind` that names `name`, all its fields at their defaults."""
    return {"name": name, **CHOICES[kind][name]}


def config(**overrides: Any) -> ConfigDict:
    """DEFAULTS and the first CHOICES with `overrides`, locked; an unknown key is an error."""
    tree = {**DEFAULTS}
    for kind, first in FIRST.items():
        name = overrides.get(kind, {}).get("name", first)
        if name not in CHOICES[kind]:
            raise ValueError(f"{kind}.name is {name!r}, not one of {', '.join(CHOICES[kind])}")
        tree[kind] = section(kind, name)
    tree["model"] = overrides.pop("model", DEFAULTS["model"])  # its fields: the flax module's own
    c = ConfigDict(tree).lock()
    c.update(overrides)
    return c
