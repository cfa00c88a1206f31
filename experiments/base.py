"""All settings of an experiment, with defaults, ranges and units.

`config(...)` builds what an experiment's `get_config` returns. A section with a `name` (optimizer,
schedule, ...) has the keys of the choice it names and no others; `model` has the fields of its flax
module, which are not listed here. An unknown key is an error at any depth, here and on the command
line. ROLES says what kind of setting each key is, and so whether a resumed run may change it.

The annotation of a key says which values it takes; `cnn_archs/knobs.py` reads and checks it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict

Whole = Annotated[int, "from 0 to 2147483647"]
Count = Annotated[int, "from 1 to 2147483647"]
Images = Annotated[int, "from 1 to 1000000"]
Pixels = Annotated[int, "from 0 to 32768"]
Side = Annotated[int, "from 1 to 32768"]
AtLeast0 = Annotated[float, "at least 0"]
Above0 = Annotated[float, "more than 0"]
Above0UpTo1 = Annotated[float, "more than 0 and at most 1"]
Fraction = Annotated[float, "from 0 to 1"]
Below1 = Annotated[float, "at least 0 and less than 1"]
Zero = Literal[0]
UnitPixel = Annotated[float, "from 0 to 1 and counted so that 255 is 1"]
UnitStep = Annotated[float, "more than 0 and at most 1 and counted so that 255 is 1"]
LowHigh = Annotated[tuple[AtLeast0, AtLeast0], "in increasing order"]
Unit = Literal["epoch", "step"]
Decayed = Literal["all", "weights"]


class Nothing:
    """A choice without keys."""


# fmt: off
class Settings:
    """The sections that every experiment has, and the keys outside of sections."""

    seed: Annotated[int, "from 0 to 4294967295"] = 0     # first seed: the run trains seed,
                             # seed + 1, ..., seed + seeds - 1
    seeds: Annotated[int, "from 1 to 10000"] = 1         # number of networks to train, which
                             # differ in random numbers only
    seeds_form: Literal["default", "vmapped", "unrolled", "in_turn"] = "default"     # one program
                             # for all seeds, vmapped or with the step written out for each, or the
                             # seeds in turn; default: unrolled on a GPU, vmapped on a single TPU
    epochs: Annotated[float, "from 0 to 1000000"] = 20.0     # passes over the training images, or 0
                             # if `steps` is given
    steps: Whole = 0         # optimizer steps, or 0 if `epochs` is given; setting one zeroes the
                             # other
    eval_batch_size: Images = 1000   # images
    eval_examples: Whole = 0         # test images on which a training evaluates, chosen by class
                             # like those of data.examples; 0: all
    test_scales: tuple[Side, ...] = ()    # shorter sides, in pixels, for multi_scale, and for
                             # grid_150 if there are three; empty: VGG's rule
    log_every: Count = 100   # steps between lines of metrics.jsonl
    eval_every: Above0 = 1.0         # epochs between evaluations; the patience of a plateau counts
                             # them
    eval_seconds: AtLeast0 = 0.0     # least seconds between evaluations: those that are due sooner
                             # are left out; 0: none; not allowed with a plateau
    diagnose_every: AtLeast0 = 0.0   # epochs between lines of diagnostics.jsonl, which has norms of
                             # gradients and deviations of responses by layer, also of the start
                             # and the end; 0: never
    checkpoint_every: Above0 = 1.0   # epochs between checkpoints; the end is always saved
    checkpoint_seconds: AtLeast0 = 0.0       # least seconds between checkpoints: those that are
                             # due sooner are left out; 0: none
    keep: Count = 2          # number of newest checkpoints to keep
    deterministic: bool = False      # use XLA's deterministic operations on a GPU: slower, but the
                             # same bits each time
    matmul_precision: Literal["default", "high", "highest"] = "default"  # of float32 products;
                             # default is TF32 on a GPU
    cuda_graph: bool = True          # launch the kernels of many steps together on an NVIDIA GPU,
                             # as one CUDA graph; false: one by one
    auxiliary: AtLeast0 = 0.3        # weight of the loss of each auxiliary classifier, if there are
                             # any
    profile: Annotated[tuple[Whole, Whole], "in increasing order"] = (0, 0)  # first traced step and
                             # the one after the last, for xprof and TensorBoard, in
                             # WORKDIR/profile; equal: no trace

    class mesh:
        data: Literal[-1] | Count = -1       # number of devices that a batch is split over; -1: all
        model: Count = 1     # number that wide dense layers, or AlexNet's towers, are split over

    mirror: bool = False     # in training, mirror half of the images, left to right

    class warm_start:
        workdir: str = ""    # run whose newest weights (not their average) are copied at the
                             # start; empty: none
        layers: str = ""     # layers to copy: a,b or ours=theirs if names differ; empty: all
        new_head: bool = False       # keep the initial weights of the last layer, for other classes

    frozen: str = ""         # layers that do not train: names or patterns, conv*,fc6; empty: none

    class data:
        name: str = "digits"         # digits, shapes, image_folder, or an image classification set
                             # of tfds
        data_dir: str = ""   # directory of tfds' datasets, or the image_folder itself; empty:
                             # $TFDS_DATA_DIR, else the default of tfds
        batch_size: Images = 128     # images in one optimizer step, over all devices
        micro_batch: Whole = 0       # images whose gradients are computed at a time; 0: the whole
                             # batch
        holdout: Whole = 0   # training images held out for validation: evenly by class if labels
                             # are known in advance; a plateau needs them; final figures use 0
        examples: Whole = 0  # training images to use, chosen by class like those of holdout;
                             # 0: all that are not held out
        on_corrupt: Literal["raise", "skip"] = "raise"   # if an image cannot be read: raise, or
                             # skip to the next sound one
        threads: Annotated[int, "from 0 to 1024"] = 0    # threads that read and decode images of
                             # varying size; 0: one per core
        mean: Literal["none", "pixel", "channel"] | tuple[UnitPixel, ...] = "none"   # mean of the
                             # training images to subtract; of images of varying size, that of the
                             # evaluation crops. Or the mean of each channel, or of all, in numbers,
                             # of pixels from 0 to 1: (0.485,0.456,0.406)
        std: tuple[UnitStep, ...] = ()   # what each channel, or all, is divided by afterwards, of
                             # pixels from 0 to 1: (0.229,0.224,0.225); empty: nothing
        channel_order: Literal["rgb", "bgr"] = "rgb"     # order of the colors that the network sees
        pixel_range: Annotated[tuple[float, float], "different"] = (0.0, 1.0)
                             # what pixel values 0 and 255 become; with a mean only its width
                             # matters; not allowed with standardize, with std or with a mean in
                             # numbers
        downsample: Side = 1         # side, in pixels, of the squares that are averaged into one
                             # pixel before all else; only for images of one size
        pad: Pixels = 0      # pixels of value 0 added on each side of an image
        image_shape: tuple[Zero, Zero, Zero] | tuple[Side, Side, Side] = (0, 0, 0)   # height,
                             # width, channels of the network's input; 0: as stored


class Choices:
    """The sections with a `name`. A class in a section is a choice; the first is the default."""

    class crop:              # how an image gets the network's input size
        none = Nothing  # unchanged; images of varying size are warped
        class pad:           # pad, then crop at random to the old size
            pixels: Pixels = 4
        class square:        # resize, then crop inside the central square
            side: Side = 256         # of the resized image, in pixels
            resize: Literal["shorter", "warp"] = "shorter"   # the shorter side becomes `side`
                             # pixels, or the whole image a square
        class shorter_side:  # resize the shorter side to a length drawn anew for each image
            smallest: Side = 256     # length in training, in pixels, at least
            largest: Side = 256      # and at most
            evaluate: Side = 256     # length in evaluation, in pixels
        class inception:     # a rectangle at random, resized
            area: Annotated[tuple[Above0UpTo1, Above0UpTo1], "in increasing order"] = (0.08, 1.0)
                             # range of its area, as a fraction of the image
            aspect: Annotated[tuple[Above0, Above0], "in increasing order"] = (0.75, 4 / 3)
                             # range of its width / height
            evaluate: Side = 256     # shorter side in evaluation, in pixels
        class deslant:       # LeNet-5 1998, section III.A
            side: Side = 28  # of the whole image before, in pixels
        class reduce:        # LeNet-1 (LeCun 1998): a digit made smaller in its field
            before: Side = 20        # side of a digit, in pixels
            after: Side = 16         # and afterwards

    class color:             # changes of an image's colors in training
        none = Nothing
        class pca:           # AlexNet, section 4.1
            sigma: AtLeast0 = 0.1    # standard deviation of the factors of the components
        class jitter:        # in random order; each factor is drawn from 1 - x to 1 + x
            brightness: AtLeast0 = 0.4       # x of the factor of all values
            contrast: AtLeast0 = 0.4         # x of the factor of differences from the mean gray
            saturation: AtLeast0 = 0.4       # x of the factor of differences from a pixel's gray

    class augment:           # random transformations of an image in training
        none = Nothing
        class distortions:   # LeNet-5 1998, section III.B
            translate: AtLeast0 = 2.0        # largest shift, in pixels
            scale: AtLeast0 = 0.15   # largest change of size, as a fraction
            squeeze: AtLeast0 = 0.15         # largest change of the ratio of the sides
            shear: AtLeast0 = 0.2    # largest shear, as a fraction
            share: Fraction = 1.0    # fraction of the images that are distorted
        class generator:     # the lecture notes', by Keras' names
            rotation_range: AtLeast0 = 0.0           # largest rotation, in degrees
            width_shift_range: AtLeast0 = 0.0        # largest shift: below 1 a fraction of the
                             # width, otherwise pixels
            height_shift_range: AtLeast0 = 0.0       # the same, of the height
            shear_range: AtLeast0 = 0.0      # largest shear, in degrees
            zoom_range: Below1 = 0.0         # each side is zoomed by 1 - x to 1 + x
            channel_shift_range: AtLeast0 = 0.0      # largest sum to a channel, of 0 to 255
            brightness_range: LowHigh = (1.0, 1.0)   # range of the factor of all values
            horizontal_flip: bool = False    # mirror half of the images, left to right
            vertical_flip: bool = False      # mirror half of the images, top to bottom
            fill_mode: Literal["nearest", "constant", "reflect", "wrap"] = "nearest"
                             # what is outside of the image
            cval: float = 0.0        # value outside of the image, for fill_mode=constant

    class standardize:       # what is done with the values of all images
        none = Nothing
        class keras:         # the other half of Keras' ImageDataGenerator
            rescale: float = 0.0     # factor of all values; 0: none
            samplewise_center: bool = False  # subtract the image's own mean
            samplewise_std_normalization: bool = False       # divide by the image's own deviation
            featurewise_center: bool = False         # subtract the mean of the training images
            featurewise_std_normalization: bool = False      # divide by their deviation
            zca_whitening: bool = False      # remove correlations between pixels
            zca_epsilon: AtLeast0 = 1e-6     # added to the eigenvalues of the covariance
        class gcn_zca:       # contrast normalization and whitening (Maxout, Network in Network)
            scale: Above0 = 55.0     # norm of each image, after its mean was subtracted
            zca_bias: Above0 = 0.1   # added to the eigenvalues of the covariance

    class loss:
        class cross_entropy:
            smoothing: Below1 = 0.0  # fraction of the label spread over all classes
        rbf_mean = Nothing  # LeNet-5 1998, equation 8
        class rbf_map:       # LeNet-5 1998, equation 9
            j: float = 1.0   # the constant j, which the paper does not give
        squared_error = Nothing      # LeNet-5 1998, appendix A: targets of -1 and 1

    class optimizer:
        class momentum:      # rate inside the velocity (Caffe, AlexNet, He)
            momentum: Below1 = 0.9
            weight_decay: AtLeast0 = 0.0     # coefficient
            decayed: Decayed = "all"         # all parameters, or weights only
            bias_rate: AtLeast0 = 1.0        # factor of the biases' rate
        class torch_momentum:        # rate outside the velocity
            momentum: Below1 = 0.9
            weight_decay: AtLeast0 = 0.0     # coefficient
            decayed: Decayed = "all"         # all parameters, or weights only
            bias_rate: AtLeast0 = 1.0        # factor of the biases' rate
            nesterov: bool = False
        class adam:
            b1: Below1 = 0.9         # decay of the mean of gradients
            b2: Below1 = 0.999       # decay of the mean of their squares
            eps: Above0 = 1e-8       # added to the root of that mean
        class rmsprop:
            decay: Below1 = 0.9      # of the mean of squared gradients
            eps: Above0 = 1.0        # added to that mean, under the root
            momentum: Below1 = 0.9
            weight_decay: AtLeast0 = 0.0     # coefficient
            decayed: Decayed = "all"         # all parameters, or weights only
            clip: AtLeast0 = 0.0     # limit of the norm of all gradients; 0: none
        class sdlm:          # LeNet-5 1998, section III.B
            mu: Above0 = 0.02        # added to the estimated curvature
            samples: Count = 500     # images whose curvature is estimated in each pass

    class average:           # of weights and batch statistics; evaluated too
        none = Nothing
        class ema:           # exponential
            decay: Below1 = 0.9999   # in each step
        class polyak:        # of all steps
            start: AtLeast0 = 0.0    # first epoch of the average

    class warmup:            # of the learning rate
        none = Nothing
        class linear:
            start: AtLeast0 = 0.0    # fraction of the rate at the first step
            length: AtLeast0 = 5.0   # in units of `unit`
            unit: Unit = "epoch"
        class error:         # ResNet-110: a small rate until training errs less
            learning_rate: AtLeast0 = 0.01
            error: Fraction = 0.8    # mean training error at which it ends
            window: Annotated[int, "from 1 to 1000000"] = 100        # steps of that mean

    class schedule:          # of the learning rate
        class constant:
            learning_rate: AtLeast0 = 0.01
        class piecewise:     # learning_rate times each factor, between the boundaries
            learning_rate: AtLeast0 = 0.01
            factors: tuple[AtLeast0, ...] = (1.0, 0.1)       # one more than boundaries
            boundaries: Annotated[tuple[AtLeast0, ...], "in increasing order"] = (10.0,)
                             # ends of the pieces, in units of `unit`
            unit: Unit = "epoch"
            bias_factors: tuple[AtLeast0, ...] = ()          # factors of biases, besides bias_rate;
                             # empty: those of weights
        class plateau:       # lower the rate when the held-out error stops falling: needs
                             # data.holdout
            learning_rate: AtLeast0 = 0.01
            factor: AtLeast0 = 0.1   # of the rate at each drop
            drops: Annotated[int, "from 0 to 1000"] = 3      # number of drops, at most
            patience: Count = 5      # evaluations without improvement before a drop
            improvement: Fraction = 0.0      # decrease of the error, to be exceeded
        class exponential:
            learning_rate: AtLeast0 = 0.01
            factor: Above0 = 0.96    # of the rate, after each `every`
            every: Above0 = 1.0      # in units of `unit`
            unit: Unit = "epoch"
            staircase: bool = False  # multiply at once after each `every`, or a little at each step
        lenet5_paper1998 = Nothing   # complete, as the paper prints it
        lenet5_notes = Nothing       # complete, as the notes print it
        lenet5_book = Nothing        # complete, as the textbook of the notes
                             # prints it
# fmt: on


# What `--normalization=NAME` sets: the input that a network with published weights expects. A mean
# or standard deviation of one number is that of all channels.
NORMALIZATIONS: dict[str, dict[str, Any]] = {
    "none": dict(mean="none"),
    "imagenet": dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),  # torchvision's
    "inception": dict(mean=(0.5,), std=(0.5,)),  # from -1 to 1
    "caffe": dict(  # 0 to 255, in OpenCV's order of colors
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        std=(1 / 255,),
        channel_order="bgr",
    ),
    "cifar10": dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "cifar100": dict(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
    "mnist": dict(mean=(0.1307,), std=(0.3081,)),
}


def values(knobs: type) -> dict[str, Any]:
    """Return {key: default} of a class of knobs, with a dict for each class in it."""
    return {
        key: values(value) if isinstance(value, type) else value
        for key, value in vars(knobs).items()
        if not key.startswith("__")
    }


def kinds(knobs: type) -> dict[str, Any]:
    """Return {key: annotation} of a class of knobs, with a dict for each class in it."""
    inner = {key: kinds(v) for key, v in vars(knobs).items() if isinstance(v, type)}
    return {**vars(knobs).get("__annotations__", {}), **inner}


DEFAULTS: dict[str, Any] = {**values(Settings), "model": {"name": "lenet5"}}
CHOICES: dict[str, dict[str, dict[str, Any]]] = values(Choices)
KINDS: dict[str, Any] = kinds(Settings)
KINDS_OF_CHOICES: dict[str, dict[str, dict[str, Any]]] = kinds(Choices)

Role = Literal["recipe", "length", "layout", "logging", "numerics", "replicate"]

# The role of a key, or of all keys of a section; all others have the role `recipe`.
ROLES: dict[str, Role] = {
    "seed": "replicate",
    "seeds": "replicate",
    "epochs": "length",
    "steps": "length",
    "mesh": "layout",            # how the same work is laid out in memory and over devices
    "eval_batch_size": "layout",
    "seeds_form": "layout",
    "cuda_graph": "layout",
    "model.remat": "layout",
    "data.data_dir": "layout",
    "data.threads": "layout",
    "log_every": "logging",
    "eval_every": "logging",
    "eval_seconds": "logging",
    "diagnose_every": "logging",
    "checkpoint_every": "logging",
    "checkpoint_seconds": "logging",
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
    """Return the defaults, changed by `overrides`, as a locked ConfigDict.

    A section that `overrides` does not name is the first of its choices. Raises ValueError for an
    unknown choice or key, and for a section that is not a dict.
    """
    tree = {**DEFAULTS}
    if "steps" in overrides:
        tree["epochs"] = 0.0
    for kind, names in CHOICES.items():
        stated = overrides.get(kind, {})
        name = stated.get("name", next(iter(names))) if isinstance(stated, Mapping) else ""
        if name not in names:
            raise ValueError(f"{kind}.name is {name!r}, not one of {', '.join(names)}")
        tree[kind] = section(kind, name)
    model = overrides.pop("model", DEFAULTS["model"])  # its keys are the fields of the flax module
    return ConfigDict({**merge(tree, overrides), "model": model}).lock()


def merge(tree: Mapping[str, Any], stated: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `tree` with the values of `stated` in place of its own, at any depth.

    prefix: the section of `tree`, with a period at its end. Raises ValueError for a key that is not
    in `tree`.
    """
    merged = {**tree}
    for key, value in stated.items():
        if key not in tree:
            raise ValueError(f"there is no key {prefix}{key}, only {', '.join(tree)}")
        if isinstance(tree[key], dict):
            if not isinstance(value, Mapping):
                raise ValueError(f"{prefix}{key} is a section: dict(key=value), not {value!r:.40}")
            value = merge(tree[key], value, f"{prefix}{key}.")
        merged[key] = value
    return merged
