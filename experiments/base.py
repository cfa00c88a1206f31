"""All settings of an experiment, with defaults and units.

`config(...)` builds what an experiment's `get_config` returns. A section with a `name` (optimizer,
schedule, ...) has the keys of the choice it names and no others; `model` has the fields of its flax
module, which are not listed here. An unknown key is an error at any depth, here and on the command
line. ROLES says what kind of setting each key is, and so whether a resumed run may change it.
"""

from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict

DEFAULTS: dict[str, Any] = dict(
    seed=0,                  # first seed: the run trains seed, seed + 1, ..., seed + seeds - 1
    seeds=1,                 # number of networks to train, which differ in random numbers only
    epochs=20.0,             # passes over the training images, or 0 if `steps` is given
    steps=0,                 # optimizer steps, or 0 if `epochs` is given; setting one zeroes the
                             # other
    eval_batch_size=1000,    # images
    test_scales=(),          # shorter sides, in pixels, for multi_scale, and for grid_150 if there
                             # are three; empty: VGG's rule
    log_every=100,           # steps between lines of metrics.jsonl
    eval_every=1.0,          # epochs between evaluations; the patience of a plateau counts them
    diagnose_every=0.0,      # epochs between lines of diagnostics.jsonl, which has norms of
                             # gradients and deviations of responses by layer, also of the start
                             # and the end; 0: never
    checkpoint_every=1.0,    # epochs between checkpoints; the end is always saved
    keep=2,                  # number of newest checkpoints to keep
    deterministic=False,     # use XLA's deterministic operations on a GPU: slower, same bits
    matmul_precision="default",  # of float32 products: default (TF32 on a GPU), high, highest
    auxiliary=0.3,           # weight of the loss of each auxiliary classifier, if there are any
    profile=(0, 0),          # first traced step and the one after the last, for xprof and
                             # TensorBoard, in WORKDIR/profile; equal: no trace
    mesh=dict(
        data=-1,             # number of devices that a batch is split over; -1: all
        model=1,             # number that wide dense layers, or AlexNet's towers, are split over
    ),
    mirror=False,            # in training, mirror half of the images, left to right
    warm_start=dict(
        workdir="",          # run whose newest weights (not their average) are copied at the
                             # start; empty: none
        layers="",           # layers to copy: a,b or ours=theirs if names differ; empty: all
    ),
    model=dict(name="lenet5"),
    data=dict(
        name="digits",       # digits, shapes, image_folder, or an image classification set of tfds
        data_dir="",         # directory of tfds' datasets, or the image_folder itself; empty:
                             # $TFDS_DATA_DIR, else the default of tfds
        batch_size=128,      # images in one optimizer step, over all devices
        micro_batch=0,       # images whose gradients are computed at a time; 0: the whole batch
        holdout=0,           # training images held out for validation: evenly by class if labels
                             # are known in advance; a plateau needs them; final figures use 0
        examples=0,          # training images to use, chosen by class like those of holdout;
                             # 0: all that are not held out
        on_corrupt="raise",  # if an image cannot be read: raise, or skip to the next sound one
        threads=0,           # threads that read and decode images of varying size; 0: one per core
        mean="none",         # mean of the training images to subtract: none, pixel, channel; of
                             # images of varying size, that of the evaluation crops
        pixel_range=(0.0, 1.0),  # what pixel values 0 and 255 become; with a mean only its width
                             # matters; not allowed with standardize
        downsample=1,        # side, in pixels, of the squares that are averaged into one pixel
                             # before all else; only for images of one size
        pad=0,               # pixels of value 0 added on each side of an image
        image_shape=(0, 0, 0),   # height, width, channels of the network's input; 0: as stored
    ),
)  # fmt: skip

# fmt: off
CHOICES: dict[str, dict[str, dict[str, Any]]] = dict(
    crop=dict(                                      # how an image gets the network's input size
        none=dict(),                                # unchanged; images of varying size are warped
        pad=dict(pixels=4),                         # pad, then crop at random to the old size
        square=dict(side=256, resize="shorter"),    # resize the shorter side to `side` pixels, then
                                                    # crop inside the central square; warp: resize
                                                    # the whole image to a square instead
        shorter_side=dict(smallest=256, largest=256, evaluate=256),   # sizes in pixels: training
                                                    # draws one from smallest to largest
        inception=dict(                             # area and aspect ratio of the crop, drawn;
                                                    # evaluate: shorter side in pixels
            area=(0.08, 1.0), aspect=(0.75, 4 / 3), evaluate=256,
        ),
    ),
    color=dict(
        none=dict(),
        pca=dict(sigma=0.1),                        # AlexNet, section 4.1
        jitter=dict(brightness=0.4, contrast=0.4, saturation=0.4),
    ),
    augment=dict(
        none=dict(),
        distortions=dict(                           # LeNet-5 1998, section III.B
            # translate: pixels; scale, squeeze, shear: fractions; share: fraction of the images
            translate=2.0, scale=0.15, squeeze=0.15, shear=0.2, share=1.0,
        ),
        generator=dict(                             # the lecture notes', by Keras' names
            rotation_range=0.0, width_shift_range=0.0, height_shift_range=0.0, shear_range=0.0,
            zoom_range=0.0, channel_shift_range=0.0, brightness_range=(1.0, 1.0),
            horizontal_flip=False, vertical_flip=False, fill_mode="nearest", cval=0.0,
        ),
    ),
    standardize=dict(
        none=dict(),
        keras=dict(                                 # the other half of Keras' ImageDataGenerator
            rescale=0.0, samplewise_center=False, samplewise_std_normalization=False,
            featurewise_center=False, featurewise_std_normalization=False,
            zca_whitening=False, zca_epsilon=1e-6,
        ),
    ),
    loss=dict(
        cross_entropy=dict(smoothing=0.0),          # fraction of the label spread over all classes
        rbf_mean=dict(),                            # LeNet-5 1998, equation 8
        rbf_map=dict(j=1.0),                        # equation 9; the paper does not give its j
    ),
    optimizer=dict(                                 # decayed: all parameters, or weights only;
                                                    # bias_rate: multiplies the biases' rate
        momentum=dict(                              # rate inside the velocity (Caffe, AlexNet, He)
            momentum=0.9, weight_decay=0.0, decayed="all", bias_rate=1.0,
        ),
        torch_momentum=dict(                        # rate outside the velocity
            momentum=0.9, weight_decay=0.0, decayed="all", bias_rate=1.0, nesterov=False,
        ),
        adam=dict(b1=0.9, b2=0.999, eps=1e-8),
        rmsprop=dict(
            decay=0.9, eps=1.0, momentum=0.9, weight_decay=0.0, decayed="all", clip=0.0,
        ),
        sdlm=dict(mu=0.02, samples=500),            # LeNet-5 1998, section III.B; samples: images
    ),                                              # whose curvature is estimated in each pass
    average=dict(                                   # of weights and batch statistics; evaluated too
        none=dict(),
        ema=dict(decay=0.9999),
        polyak=dict(start=0.0),                     # first epoch of the average
    ),
    warmup=dict(
        none=dict(),
        linear=dict(start=0.0, length=5.0, unit="epoch"),
        error=dict(learning_rate=0.01, error=0.8, window=100),  # ResNet-110; window in steps
    ),
    schedule=dict(
        constant=dict(learning_rate=0.01),
        piecewise=dict(learning_rate=0.01, factors=(1.0, 0.1), boundaries=(10.0,), unit="epoch"),
        plateau=dict(                               # of the held-out error: needs data.holdout
            # patience: evaluations; improvement: decrease of the error, 0 to 1, to be exceeded
            learning_rate=0.01, factor=0.1, drops=3, patience=5, improvement=0.0,
        ),
        exponential=dict(learning_rate=0.01, factor=0.96, every=1.0, unit="epoch", staircase=False),
        lenet5_paper1998=dict(),                    # three printed schedules for LeNet-5, which
        lenet5_notes=dict(),                        # are complete and have no keys
        lenet5_book=dict(),
    ),
)
# fmt: on
FIRST = dict(
    crop="none",
    color="none",
    augment="none",
    standardize="none",
    loss="cross_entropy",
    optimizer="momentum",
    average="none",
    warmup="none",
    schedule="constant",
)  # fmt: skip

Role = Literal["recipe", "length", "layout", "logging", "numerics", "replicate"]

# The role of a key, or of all keys of a section; all others have the role `recipe`.
ROLES: dict[str, Role] = {
    "seed": "replicate",
    "seeds": "replicate",
    "epochs": "length",
    "steps": "length",
    "mesh": "layout",            # how the same work is laid out in memory and over devices
    "eval_batch_size": "layout",
    "model.remat": "layout",
    "data.data_dir": "layout",
    "data.threads": "layout",
    "log_every": "logging",
    "eval_every": "logging",
    "diagnose_every": "logging",
    "checkpoint_every": "logging",
    "keep": "logging",
    "profile": "logging",
    "deterministic": "numerics", # how exactly the same arithmetic is rounded
    "matmul_precision": "numerics",
}  # fmt: skip
OUTCOME_UNCHANGED: frozenset[Role] = frozenset({"layout", "logging", "numerics", "replicate"})
RESUMABLE: frozenset[Role] = frozenset({"length", "layout", "logging"})


def role(key: str, config: Mapping[str, Any]) -> Role:
    """Return the role of the key `key`, such as `data.threads`, in the nested dict `config`.

    A resumed run may change keys whose role is in RESUMABLE. Claims and reports count a result as
    one of an experiment's recipe whatever its keys with a role in OUTCOME_UNCHANGED are. Three keys
    become part of the recipe in configs where the trained weights depend on them.
    """

    def is_chosen(section: str, name: str) -> bool:
        return config.get(section, {}).get("name") == name

    if key == "eval_every" and is_chosen("schedule", "plateau"):  # its patience counts evaluations
        return "recipe"
    if key == "data.data_dir" and is_chosen("data", "image_folder"):  # the folder is the dataset
        return "recipe"
    if (
        key == "mesh.data" and config.get("model", {}).get("bn_group") == -1
    ):  # statistics of a device's images
        return "recipe"
    section = key.partition(".")[0]
    return ROLES.get(key) or ROLES.get(section, "recipe")


def section(kind: str, name: str) -> dict[str, Any]:
    """Return the section `kind` that names the choice `name`, with its defaults."""
    return {"name": name, **CHOICES[kind][name]}


def config(**overrides: Any) -> ConfigDict:
    """Return DEFAULTS and the FIRST choices, changed by `overrides`, as a locked ConfigDict.

    Raises ValueError for an unknown choice and KeyError for an unknown key.
    """
    tree = {**DEFAULTS}
    if "steps" in overrides:
        tree["epochs"] = 0.0
    for kind, first in FIRST.items():
        name = overrides.get(kind, {}).get("name", first)
        if name not in CHOICES[kind]:
            raise ValueError(f"{kind}.name is {name!r}, not one of {', '.join(CHOICES[kind])}")
        tree[kind] = section(kind, name)
    tree["model"] = overrides.pop(
        "model", DEFAULTS["model"]
    )  # its keys are the fields of the flax module
    c = ConfigDict(tree).lock()
    c.update(overrides)
    return c
