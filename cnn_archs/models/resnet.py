"""Residual networks (He, Zhang, Ren & Sun 2015) and their pre-activation form (He et al. 2016).

`resnet50` and its relatives are table 1 of the first paper: batch normalization after every
convolution, ReLU after the addition, stride 2 in the first convolution of conv3_1, conv4_1 and
conv5_1. Where a unit changes the shape, the shortcut is a projection (names without a suffix) or
pads with channels of zeros (`_a`); `_c` has projections everywhere, and `plain34` has no shortcuts.
`_v1_5` has the stride in the 3x3 convolution, as is usual today; `_v2` is from the second paper, in
the form of the code that was released for ImageNet (fb.resnet.torch's `preresnet.lua`): the stride
is in the 3x3 convolution, a projection takes the activated input and has no batch normalization,
and the pool is padded. The authors' own release of the second paper has networks for CIFAR only.
`resnet20` to `resnet1202` are the networks for CIFAR-10 of section 4.2: three stages of n units
with option A; `_b`, `_c`, `_v2` and `plain20` are as above.

Initialization: N(0, 2 / fan-in) (He et al. 2015, equation 10), biases 0, scales 1.

The lecture notes write ResNet-512 where the paper has 152, and a ReLU before the addition, where
the paper has it after the addition.

Deviations: evaluation uses moving averages of the batch statistics; those of the released models
            were computed over many training images at the end. The first paper does not say that
            projections are batch-normalized (the released ones are). The first two versions of
            `preresnet.lua`, of April 2016, normalized projections too, and took them from the input
            before its activation; the later ones and the second paper do not. The papers give
            neither the pool's edge (see `pool1`) nor epsilon 1e-5 and momentum 0.9.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_archs.models.cpu.training_step import written_once
from cnn_archs.models.fields import BnGroup, Count, Dtype, Factor
from cnn_archs.models.layers import (
    INITIALIZERS,
    BatchNorm,
    Conv,
    ConvNorm,
    choice,
    maybe_remat,
    relu,
    scaled,
)
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import GlobalAvgPool, MaxPool
from cnn_archs.models.residual_units import UNITS

# fmt: off
TABLE_1 = {  # units in conv2_x to conv5_x: two 3x3 layers, or 1x1, 3x3, 1x1
    18:  ((2, 2,  2, 2), "basic"),
    34:  ((3, 4,  6, 3), "basic"),
    50:  ((3, 4,  6, 3), "bottleneck"),
    101: ((3, 4, 23, 3), "bottleneck"),
    152: ((3, 8, 36, 3), "bottleneck"),
    200: ((3, 24, 36, 3), "bottleneck"),  # from the second paper
}
# fmt: on


class ResNet(Network):
    """A first convolution, stages of units, the mean over each map, and one dense layer.

    blocks, widths: number of units in each stage, and maps of their 3x3 convolutions. kind, unit,
    shortcut, stride_in: see `residual_units.py`. stem: `7x7` with stride 2 and a pool, or `3x3`.
    pool1: whether the pool of `7x7` is `padded` by 1 on each side, as in torch and Keras, or its
    last window hangs over the edge, as in the first paper's released models (Caffe); at 224x224
    both give 56x56. The default is that of weights from elsewhere and of old configs; the first
    paper's experiments say `overhanging`.
    scan_blocks: whether all units of a stage but the first run in one `lax.scan`, so that the time
    to trace and compile does not grow with depth; `stack` and `unstack` convert the parameters. Do
    not train with it on a CPU, where convolutions in a loop are slow. bn_group: number of images
    that share batch statistics; 0 for the whole batch, -1 for the images of one device. width:
    multiplies all widths except the number of classes. remat: whether each unit and the first layer
    are rematerialized in the backward pass.
    """

    num_classes: Count = 1000
    blocks: tuple[Annotated[int, "from 1 to 1000"], ...] = (3, 4, 6, 3)
    widths: tuple[Count, ...] = (64, 128, 256, 512)
    kind: Literal["basic", "bottleneck"] = "bottleneck"
    unit: Literal["residual", "preactivation"] = "residual"
    shortcut: Literal["A", "B", "C", "none"] = "B"
    stride_in: Literal["1x1", "3x3"] = "1x1"
    stem: Literal["7x7", "3x3"] = "7x7"
    pool1: Literal["padded", "overhanging"] = "padded"
    scan_blocks: bool = False
    bn_group: BnGroup = 0
    width: Factor = 1.0
    remat: bool = False
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes]."""
        kept = partial(maybe_remat, self.remat and train)

        def apply(unit, x):
            return written_once(kept(unit, lambda unit, x: unit(x, train=train), x))

        unit_of = partial(
            choice("unit", self.unit, UNITS),
            kind=self.kind,
            shortcut=self.shortcut,
            stride_in=self.stride_in,
            bn_group=self.bn_group,
            dtype=self.dtype,
        )
        if len(self.blocks) != len(self.widths) or not self.blocks:
            raise ValueError(
                f"blocks={self.blocks} has {len(self.blocks)} stages and widths={self.widths} has "
                f"{len(self.widths)}: both need one number for each stage"
            )
        x = kept(self, partial(ResNet.begin, train=train), image)  # ImageNet: 56x56; CIFAR: 32x32
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            unit = partial(unit_of, width=scaled(width, self.width))
            opening: dict[str, Any] = {}
            if stage == 0 and self.unit == "preactivation":
                opening = dict(first=True, activated=self.stem == "7x7")
            name = f"conv{stage + 2}"
            x = apply(unit(stride=2 if stage else 1, **opening, name=f"{name}_1"), x)
            if self.scan_blocks and count > 1:
                x = scan(apply, unit(stride=1, name=f"{name}_rest"), x, count - 1)
            else:
                for i in range(2, count + 1):
                    x = apply(unit(stride=1, name=f"{name}_{i}"), x)
        if self.unit == "preactivation":
            norm = BatchNorm(self.bn_group, dtype=self.dtype, name="final_bn")
            x = relu(norm(x, train=train))
        x = GlobalAvgPool(name="pool")(x)
        fc = nn.Dense(self.num_classes, kernel_init=INITIALIZERS["he"], dtype=self.dtype, name="fc")
        return {"logits": fc(x)}

    def begin(self, image: jax.Array, train: bool) -> jax.Array:
        """Apply conv1: f32[N, H, W, C] -> f32[N, H/4, W/4, 64], or f32[N, H, W, 16] for CIFAR."""
        window, stride = choice("stem", self.stem, {"7x7": (7, 2), "3x3": (3, 1)})
        options: dict[str, Any] = dict(
            features=scaled(self.widths[0], self.width),
            kernel_size=(window, window),
            strides=stride,
            padding=window // 2,
            kernel_init=INITIALIZERS["he"],
            dtype=self.dtype,
            name="conv1",
        )
        if self.stem == "3x3" and self.unit == "preactivation":  # conv2_1 begins with the norm
            return Conv(use_bias=False, **options)(image)
        x = relu(ConvNorm(bn_group=self.bn_group, **options)(image, train=train))
        if self.stem == "3x3":
            return x
        pools: dict[str, dict[str, Any]] = {
            "padded": dict(padding=1),
            "overhanging": dict(ceil=True),
        }
        return MaxPool(3, 2, **choice("pool1", self.pool1, pools), name="pool1")(x)


def scan(apply: Callable[..., jax.Array], unit: nn.Module, x: jax.Array, count: int) -> jax.Array:
    """Apply `count` units like `unit` in one loop; their parameters are f32[count, ...].

    apply: (unit, x) -> the output of the unit.
    """

    def body(unit, x, _):
        return apply(unit, x), None

    axes: dict[Any, int] = {"params": 0, "batch_stats": 0}
    loop = nn.scan(body, variable_axes=axes, split_rngs={"params": True}, length=count)
    return loop(unit, x, None)[0]


def stack(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the variables of an unrolled network to the form of `scan_blocks`.

    variables: {collection: {layer: ...}}. Units 2 to n of a stage, `conv3_2`, `conv3_3`, ...,
    become one `conv3_rest` with a leading axis.
    """
    stacked: dict[str, Any] = {}
    for collection, layers in variables.items():
        stages: dict[str, dict[int, Any]] = {}
        stacked[collection] = {}
        for name, layer in layers.items():
            stage, _, number = name.partition("_")
            if number.isdigit() and int(number) > 1:
                stages.setdefault(stage, {})[int(number)] = layer
            else:
                stacked[collection][name] = layer
        for stage, units in stages.items():
            rest = [units[i] for i in sorted(units)]
            stacked[collection][f"{stage}_rest"] = jax.tree.map(lambda *x: jnp.stack(x), *rest)
    return stacked


def unstack(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Convert variables in the form of `scan_blocks` to the unrolled form."""
    unrolled: dict[str, Any] = {}
    for collection, layers in variables.items():
        unrolled[collection] = {}
        for name, layer in layers.items():
            stage, _, rest = name.partition("_")
            if rest != "rest":
                unrolled[collection][name] = layer
                continue
            for i in range(len(jax.tree.leaves(layer)[0])):
                unit = jax.tree.map(lambda x, i=i: x[i], layer)
                unrolled[collection][f"{stage}_{i + 2}"] = unit
    return unrolled


def imagenet(depth: int, **fields: Any) -> partial[ResNet]:
    """Return the network of table 1 with `depth` weight layers."""
    printed: dict[str, Any] = dict(zip(("blocks", "kind"), TABLE_1[depth], strict=True))
    return partial(ResNet, **printed, **fields)


def cifar(depth: int, **fields: Any) -> partial[ResNet]:
    """Return the network of section 4.2 with 6n + 2 layers of 16, 32, 64 maps.

    With bottlenecks there are 9n + 2 layers.
    """
    layers = 9 if fields.get("kind") == "bottleneck" else 6
    n, rest = divmod(depth - 2, layers)
    assert rest == 0, depth
    small: dict[str, Any] = dict(num_classes=10, widths=(16, 32, 64), stem="3x3", kind="basic")
    return partial(ResNet, blocks=(n, n, n), **{**small, "shortcut": "A", **fields})


CIFAR_NAME = re.compile(r"(resnet|plain)(\d+)(_cifar)?(_bottleneck)?(_b|_c|_v2)?")
SHORTCUTS = {"_b": "B", "_c": "C"}


def cifar_by_name(name: str) -> partial[ResNet] | None:
    """Return the network for CIFAR-10 that is called `name`, of any depth; None if there is none.

    Names are those of VARIANTS with another depth, 6n + 2, and `resnetN_bottleneck` and
    `resnetN_bottleneck_v2` with N = 9n + 2. Where a network for ImageNet has the same depth, the
    depth is followed by `_cifar`, as in `resnet50_cifar_v2`.
    """
    found = CIFAR_NAME.fullmatch(name)
    if not found:
        return None
    family, depth, cifar_, bottleneck, form = found.groups()
    n, rest = divmod(int(depth) - 2, 9 if bottleneck else 6)
    is_plain = family == "plain"
    if rest or not 1 <= n <= 1000 or bool(cifar_) != (int(depth) in TABLE_1 and not bottleneck):
        return None
    if (is_plain and (bottleneck or form)) or (bottleneck and form in SHORTCUTS):
        return None
    shortcut = "none" if is_plain else SHORTCUTS.get(form, "B" if bottleneck else "A")
    fields = V2 if form == "_v2" else {}
    kind = "bottleneck" if bottleneck else "basic"
    return cifar(int(depth), kind=kind, shortcut=shortcut, **fields)


V2: dict[str, Any] = dict(unit="preactivation")
DEPTHS = (18, 34, 50, 101, 152)
CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)
VARIANTS: dict[str, partial[ResNet]] = {
    **{f"resnet{d}": imagenet(d) for d in DEPTHS},
    **{f"resnet{d}_a": imagenet(d, shortcut="A") for d in DEPTHS},
    **{f"resnet{d}_c": imagenet(d, shortcut="C") for d in DEPTHS},
    **{f"resnet{d}_v1_5": imagenet(d, stride_in="3x3") for d in (50, 101, 152)},
    **{f"resnet{d}_v2": imagenet(d, stride_in="3x3", **V2) for d in (*DEPTHS, 200)},
    **{f"plain{d}": imagenet(d, shortcut="none") for d in (18, 34)},
    **{f"resnet{d}": cifar(d) for d in CIFAR_DEPTHS},
    **{f"resnet{d}_b": cifar(d, shortcut="B") for d in CIFAR_DEPTHS},
    **{f"resnet{d}_c": cifar(d, shortcut="C") for d in CIFAR_DEPTHS},
    **{f"plain{d}": cifar(d, shortcut="none") for d in CIFAR_DEPTHS},
    **{f"resnet{d}_v2": cifar(d, **V2) for d in (20, 32, 44, 56, 110)},
    "resnet164_v2": cifar(164, kind="bottleneck", shortcut="B", **V2),
    "resnet1001_v2": cifar(1001, kind="bottleneck", shortcut="B", **V2),
}
