"""The cases of `device.py`: what is measured or trained in each stage, in which order.

A case is one process. Those of the stages `loop` and `steps` print a `Measured` object; those of
the stages `training` and `lenet` are trainings by the command `train`.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypedDict

STAGES = {1: "loop", 2: "training", 3: "steps", 4: "lenet"}
SECONDS = 6.0  # timed, of each measurement
CIFAR10 = 50_000  # images


class Measured(TypedDict, total=False):
    """The result of a measurement.

    start_seconds: from the imports to the first timed step. peak_bytes: None if the device does not
    tell it. flops_per_image: those of forward and backward convolutions and dense layers.
    """

    images_per_second: float
    steps_per_second: float
    start_seconds: float
    params: int
    flops_per_image: int
    peak_bytes: int | None
    device: str
    versions: dict[str, str]
    trace: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One measurement or training.

    stage: a value of STAGES. program: the file of this folder that measures, "" for a training.
    settings: those of the program, or {"config", "overrides"} of a training. dtype, precision: in
    which the products are computed, for the share of the device's peak; precision is that of
    float32, as in the config's matmul_precision. beside: the case of ours that it is compared with.
    """

    name: str
    stage: str
    program: str
    settings: Mapping[str, Any] = field(hash=False)
    dtype: str = "float32"
    precision: str = "default"
    beside: str = ""


def loop_cases(tiny: bool) -> list[Case]:
    """Return the forms of ResNet-20's loop, each with its recipe on random images.

    They differ in the CUDA graph, the arithmetic, and the number and form of the seeds. The last
    one is the first again, traced.
    """
    base = ["data.holdout=0", f"steps={10**6}", "seeds=1"]
    if tiny:
        base += ["data.batch_size=4", "log_every=2"]
    arithmetic = {
        "float32": ["matmul_precision=highest"],
        "TF32": ["matmul_precision=default"],
        "bfloat16": ["model.dtype=bfloat16"],
    }
    forms = arithmetic | {
        f"{name} without a graph": [*own, "cuda_graph=false"] for name, own in arithmetic.items()
    }
    forms |= {
        f"TF32, {count} seeds {form}": [f"seeds={count}", f"seeds_form={form}"]
        for count in ((2,) if tiny else (2, 5))
        for form in ("in_turn", "unrolled", "vmapped")
    }
    traced = 2 if tiny else 20
    forms["TF32, traced"] = [f"log_every={traced}"]

    def case(name: str, own: list[str]) -> Case:
        settings = {
            "experiment": "lenet5_mnist" if tiny else "resnet_cifar10:20",
            "overrides": [*base, *own],
            "image": (28, 28, 1) if tiny else (32, 32, 3),
            "classes": 10,
            "examples": 32 if tiny else CIFAR10,
            "seconds": 0.1 if tiny else SECONDS,
            "traced": traced if name.endswith("traced") else 0,
        }
        dtype = "bfloat16" if name.startswith("bfloat16") else "float32"
        precision = "highest" if name.startswith("float32") else "default"
        network = "LeNet-5" if tiny else "ResNet-20"
        return Case(f"{network}, {name}", "loop", "device_jax.py", settings, dtype, precision)

    return [case(name, own) for name, own in forms.items()]


# The experiments of stage 3: the images of a step, their side, and what the recipe of ours needs.
STEPS: dict[str, tuple[str, int, int, tuple[str, ...]]] = {
    "resnet50": ("resnet_imagenet:50_v1_5", 256, 224, ("model.bn_group=0",)),
    "resnet152": ("resnet_imagenet:152_v1_5", 128, 224, ("model.bn_group=0",)),
    "vgg_d": ("vgg_imagenet:D", 128, 224, ()),
    "alexnet": ("alexnet_imagenet", 512, 227, ()),
    "googlenet": ("googlenet_imagenet", 256, 224, ("average.name=none",)),
}
STEP_OVERRIDES = [
    *("seeds=1", f"steps={10**6}", "data.holdout=0", "data.mean=none", "data.name=shapes"),
    *("data.pixel_range=(-1.0,1.0)", "crop.name=none", "color.name=none", "mirror=false"),
    *("schedule.name=constant", "model.dtype=bfloat16"),
]
BATCHES = 4  # in memory


def step_cases(tiny: bool, with_torch: bool) -> list[Case]:
    """Return training steps of the networks for ImageNet in bfloat16: ours and the others' beside.

    The others are PyTorch, eager and compiled, if it is there, and a plain step in flax and optax
    for ResNet-50.
    """
    cases = []
    for network in ("resnet50", "vgg_d") if tiny else STEPS:
        experiment, batch, side, own = STEPS[network]
        batch, side = (2, 32) if tiny else (batch, side)
        image, seconds = (side, side, 3), 0.1 if tiny else SECONDS
        ours = {
            "experiment": experiment,
            "overrides": [
                *(*STEP_OVERRIDES, *own),
                *(f"data.batch_size={batch}", f"data.image_shape=({side},{side},3)"),
            ],
            "image": image,
            "classes": 1000,
            "examples": BATCHES * batch,
            "seconds": seconds,
            "traced": 0,
        }
        cases.append(Case(network, "steps", "device_jax.py", ours, "bfloat16"))
        common = {"image": image, "batch": batch, "batches": BATCHES, "seconds": seconds}
        theirs: list[tuple[str, str, dict[str, Any]]] = []
        if network == "resnet50":
            theirs.append(("flax and optax", "device_flax.py", {"dtype": "bfloat16"}))
        if with_torch:
            torch = {"network": network, "auxiliary": 0.3}
            theirs.append(("PyTorch", "device_torch.py", {**torch, "compile": False}))
            if not tiny:
                compiled = ("PyTorch, compiled", "device_torch.py", {**torch, "compile": True})
                theirs.append(compiled)
        for side_name, program, settings in theirs:
            name = f"{network} in {side_name}"
            cases.append(
                Case(name, "steps", program, {**common, **settings}, "bfloat16", beside=network)
            )
    return cases


KINDS = ("resnet", "plain")
DEPTHS = (20, 32, 44, 56, 110)
ARGUMENTS = {f"{kind}{d}": f"{kind.removeprefix('resnet')}{d}" for d in DEPTHS for kind in KINDS}
FIRST = ("resnet20", "plain20", "resnet56", "plain56")
# An epoch of a fast device is half a second long.
SELDOM = ["eval_seconds=30", "checkpoint_seconds=60"]


def training_cases(tiny: bool, loop: Mapping[str, Measured]) -> list[Case]:
    """Return the trainings on CIFAR-10, the first seed of each network first.

    loop: the results of the stage `loop`, of which the trainings take the fastest form.
    """
    quick = ["data.name=digits", "data.batch_size=4", "model.bn_group=4", "steps=4", "mirror=false"]
    first = {"resnet8": "8"} if tiny else {d: ARGUMENTS[d] for d in FIRST}
    later = {} if tiny else {d: a for d, a in ARGUMENTS.items() if d not in FIRST}

    def case(name: str, argument: str, seeds: list[str], label: str) -> Case:
        overrides = [*seeds, *SELDOM, *fastest_form(loop, seeds), *(quick if tiny else [])]
        settings = {"config": f"resnet_cifar10:{argument}", "overrides": overrides}
        return Case(f"{name}, {label}", "training", "", settings)

    one, four = ["seed=0", "seeds=1"], ["seed=1", f"seeds={1 if tiny else 4}"]
    cases = [case(name, argument, one, "seed 0") for name, argument in first.items()]
    cases += [case(name, argument, four, "more seeds") for name, argument in first.items()]
    return cases + [case(name, argument, one, "seed 0") for name, argument in later.items()]


def fastest_form(loop: Mapping[str, Measured], seeds: list[str]) -> list[str]:
    """Return the overrides of the fastest form of the loop, as far as it was measured.

    The arithmetic stays that of the recipe. seeds: the overrides of the number of seeds.
    """

    def speed(name: str) -> float:
        return loop.get(f"ResNet-20, {name}", {}).get("images_per_second", 0.0)

    graph, plain = speed("TF32"), speed("TF32 without a graph")
    chosen = [f"cuda_graph={'true' if graph >= plain else 'false'}"] if graph and plain else []
    forms = {form: speed(f"TF32, 5 seeds {form}") for form in ("in_turn", "unrolled", "vmapped")}
    if "seeds=1" not in seeds and any(forms.values()):
        chosen.append(f"seeds_form={max(forms, key=lambda form: forms[form])}")
    return chosen


def lenet_cases(tiny: bool) -> list[Case]:
    """Return the trainings on MNIST: LeNet-5 with five seeds, and that of 1998 as printed."""
    made = {"LeNet-5": "lenet5_mnist", "LeNet-5 of 1998": "lenet5_1998_mnist:map"}
    own = SELDOM
    if tiny:
        made = {"LeNet-5": "lenet5_digits"}
        own = [*own, "steps=2", "data.batch_size=4", "model.name=mlp", "seeds=1"]
    return [
        Case(name, "lenet", "", {"config": config, "overrides": own})
        for name, config in made.items()
    ]


@cache
def has_torch(python: str) -> bool:
    """Return whether the Python interpreter `python` has a package torch."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0
