"""Every knob, once: its default, its unit, and the choices that a named section has.

`config(...)` is what an experiment returns. A section with a `name` (optimizer, schedule, ...) has
the fields of the thing it names and no others; `model` has the fields of its flax module, which
are not listed here. Unknown keys are errors at any depth, here and on the command line. ROLES says
what kind of choice each knob is, and so who may change it.
"""

from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict

DEFAULTS: dict[str, Any] = dict(
    seed=0,                  # the first seed; the run trains seed, seed + 1, ..., seed + seeds - 1
    seeds=1,                 # how many networks to train, equal in all but their random numbers
    epochs=20.0,             # passes over the training images; or 0, and
    steps=0,                 # optimizer steps; one of the two is 0: naming one makes the other so
    eval_batch_size=1000,    # images
    test_scales=(),          # pixels of the shorter side, for multi_scale, and for grid_150 if they
                             # are three; empty: VGG's rule
    log_every=100,           # steps between lines of metrics.jsonl
    eval_every=1.0,          # epochs between evaluations, which a plateau's patience counts
    diagnose_every=0.0,      # epochs between lines of diagnostics.jsonl: norms of gradients and
                             # deviations of responses by layer, at the start and the end too; 0: no
    checkpoint_every=1.0,    # epochs between checkpoints; there is one at the end in any case
    keep=2,                  # checkpoints kept
    deterministic=False,     # XLA's deterministic operations on a GPU: slower, same bits each run
    matmul_precision="default",  # of float32 products: default (TF32 on a GPU), high, highest
    auxiliary=0.3,           # weight of each auxiliary classifier's loss, where there are any
    profile=(0, 0),          # the first step and the one after the last that are traced for xprof
                             # and TensorBoard, in WORKDIR/profile; equal: none
    mesh=dict(
        data=-1,             # devices that a batch is split over; -1: as many as there are
        model=1,             # devices that the dense layers, or AlexNet's towers, are split over
    ),
    mirror=False,            # in training, left and right exchanged in half of the images
    warm_start=dict(
        workdir="",          # another run, whose newest weights (not their average) this one has
                             # at the start; empty: none
        layers="",           # which layers: a,b or ours=theirs where names differ; empty: all
    ),
    model=dict(name="lenet5"),
    data=dict(
        name="digits",       # digits, shapes, image_folder, or an image-classification one of tfds
        data_dir="",         # where tfds keeps its datasets; empty: $TFDS_DATA_DIR, else tfds' own;
                             # of image_folder, the folder
        batch_size=128,      # images in one optimizer step, over all devices
        micro_batch=0,       # images whose gradients are computed at once; 0: the whole batch
        holdout=0,           # training images set aside, by class where labels are known at once:
                             # to select by, or for a plateau; 0 for figures
        examples=0,          # training images used, by class as those set aside; 0: all the rest
        on_corrupt="raise",  # an image that cannot be read: raise, or skip to the next sound one
        threads=0,           # that read and decode images which differ in size; 0: one a core
        mean="none",         # what is taken off: the training images' mean, by pixel or channel;
                             # of images that differ in size, that of evaluation's crops
        pixel_range=(0.0, 1.0),  # what pixel values 0 and 255 become; with a mean, only its width
                             # counts; not with standardize
        downsample=1,        # where images are of one size: means over so many by so many pixels,
                             # a smaller image, before all else
        pad=0,               # pixels of value 0 put around each image
        image_shape=(0, 0, 0),   # height, width, channels that the network sees; 0: the dataset's
    ),
)  # fmt: skip

# fmt: off
CHOICES: dict[str, dict[str, dict[str, Any]]] = dict(
    crop=dict(                                      # how an image comes to the network's size
        none=dict(),                                # as it is; if images differ in size, warped
        pad=dict(pixels=4),                         # padded, and a random part of the old size
        square=dict(side=256, resize="shorter"),    # a part of the central square once the shorter
                                                    # side is `side`; warp: of all made square
        shorter_side=dict(smallest=256, largest=256, evaluate=256),   # resized to, in pixels
        inception=dict(area=(0.08, 1.0), aspect=(0.75, 4 / 3), evaluate=256),
    ),
    color=dict(
        none=dict(),
        pca=dict(sigma=0.1),                        # AlexNet, section 4.1
        jitter=dict(brightness=0.4, contrast=0.4, saturation=0.4),
    ),
    augment=dict(
        none=dict(),
        distortions=dict(                           # LeNet-5 1998, section III.B; share: of images;
            # translate: pixels; the others: fractions
            translate=2.0, scale=0.15, squeeze=0.15, shear=0.2, share=1.0,
        ),
        generator=dict(                             # the notes', by Keras' names
            rotation_range=0.0, width_shift_range=0.0, height_shift_range=0.0, shear_range=0.0,
            zoom_range=0.0, channel_shift_range=0.0, brightness_range=(1.0, 1.0),
            horizontal_flip=False, vertical_flip=False, fill_mode="nearest", cval=0.0,
        ),
    ),
    standardize=dict(
        none=dict(),
        keras=dict(                                 # the notes' generator's other half
            rescale=0.0, samplewise_center=False, samplewise_std_normalization=False,
            featurewise_center=False, featurewise_std_normalization=False,
            zca_whitening=False, zca_epsilon=1e-6,
        ),
    ),
    loss=dict(
        cross_entropy=dict(smoothing=0.0),          # share of a label spread over all classes
        rbf_mean=dict(),                            # LeNet-5 1998, equation 8
        rbf_map=dict(j=1.0),                        # equation 9; the paper does not give its j
    ),
    optimizer=dict(                                 # decayed: all parameters, or weights only
        momentum=dict(                              # rate inside the velocity (Caffe, AlexNet, He)
            momentum=0.9, weight_decay=0.0, decayed="all", bias_rate=1.0,
        ),
        torch_momentum=dict(                        # rate outside
            momentum=0.9, weight_decay=0.0, decayed="all", bias_rate=1.0, nesterov=False,
        ),
        adam=dict(b1=0.9, b2=0.999, eps=1e-8),
        rmsprop=dict(
            decay=0.9, eps=1.0, momentum=0.9, weight_decay=0.0, decayed="all", clip=0.0,
        ),
        sdlm=dict(mu=0.02, samples=500),            # LeNet-5 1998, section III.B
    ),
    average=dict(                                   # of weights and batch statistics, evaluated too
        none=dict(),
        ema=dict(decay=0.9999),
        polyak=dict(start=0.0),                     # epoch
    ),
    warmup=dict(
        none=dict(),
        linear=dict(start=0.0, length=5.0, unit="epoch"),
        error=dict(learning_rate=0.01, error=0.8, window=100),  # ResNet-110; window in steps
    ),
    schedule=dict(
        constant=dict(learning_rate=0.01),
        piecewise=dict(learning_rate=0.01, factors=(1.0, 0.1), boundaries=(10.0,), unit="epoch"),
        plateau=dict(                               # of the held-out error: needs data.holdout;
            # patience: evaluations; improvement: of the error, a fraction of 1
            learning_rate=0.01, factor=0.1, drops=3, patience=5, improvement=0.0,
        ),
        exponential=dict(learning_rate=0.01, factor=0.96, every=1.0, unit="epoch", staircase=False),
        lenet5_paper1998=dict(),                    # the three that are printed for LeNet-5:
        lenet5_notes=dict(),                        # they are whole, and have no knobs
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

# The role of each knob, or of each knob in a section; of all others it is `recipe`.
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
    """Returns the role of the knob `key`, such as `data.threads`, in the nested dict `config`.

    It decides who may change the knob. A resumed run may change RESUMABLE roles. Claims and reports
    count a result as one of an experiment's recipe whatever the OUTCOME_UNCHANGED roles are. Three
    knobs are part of the recipe where the trained weights depend on them.
    """

    def names(section: str, name: str) -> bool:
        return config.get(section, {}).get("name") == name

    if key == "eval_every" and names("schedule", "plateau"):  # patience counts evaluations
        return "recipe"
    if key == "data.data_dir" and names("data", "image_folder"):  # the folder is the dataset
        return "recipe"
    if key == "mesh.data" and config.get("model", {}).get("bn_group") == -1:  # a device's images
        return "recipe"
    section = key.partition(".")[0]
    return ROLES.get(key) or ROLES.get(section, "recipe")


def section(kind: str, name: str) -> dict[str, Any]:
    """The section `kind` that names `name`, all its fields at their defaults."""
    return {"name": name, **CHOICES[kind][name]}


def config(**overrides: Any) -> ConfigDict:
    """DEFAULTS and the first CHOICES with `overrides`, locked; an unknown key is an error."""
    tree = {**DEFAULTS}
    if "steps" in overrides:
        tree["epochs"] = 0.0
    for kind, first in FIRST.items():
        name = overrides.get(kind, {}).get("name", first)
        if name not in CHOICES[kind]:
            raise ValueError(f"{kind}.name is {name!r}, not one of {', '.join(CHOICES[kind])}")
        tree[kind] = section(kind, name)
    tree["model"] = overrides.pop("model", DEFAULTS["model"])  # its fields: the flax module's own
    c = ConfigDict(tree).lock()
    c.update(overrides)
    return c
