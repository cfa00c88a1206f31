"""Inception-ResNet-v1 and -v2 (Szegedy, Ioffe, Vanhoucke & Alemi 2016, figures 7 and 10 to 19).

    form          v1                   v2                   released
    stem          figure 14, 256 maps  figure 3, 384 maps   below, 320 maps
    A, 35x35      5 x figure 10        5 x figure 16        10 x figure 16
    reduction A   figure 7 and table 1 with the letters of v1 or v2
    B, 17x17      10 x figure 11       10 x figure 17       20 x figure 17
    reduction B   figure 12            figure 18            figure 18
    C, 8x8        5 x figure 13        5 x figure 19        10 x figure 19
    after C       -                    -                    1x1 of 1536
    mean, dropout (80 % are kept), softmax: figure 15
    maps          256, 896, 1792       384, 1152, 2144      320, 1088, 2080
    parameters    22,756,328           32,433,928           55,843,464

`inception_resnet_v1` and `inception_resnet_v2_paper` are the figures. `inception_resnet_v2` is the
network whose weights the authors have released: its stem is Inception-v3's to the second pool and
a module of 96, 64, 96 and 64 maps; the last module C is neither scaled nor followed by a ReLU.

A module adds `scale` times its branches, which a linear 1x1 convolution leads to the number of maps
of its input, to that input, and a ReLU follows (section 3.3, figure 20). The release's scales are
0.17, 0.1 and 0.2 in A, B and C; the paper says from 0.1 to 0.3. All other convolutions have batch
normalization and a ReLU. Padding, epsilon, the order of branches and the weights at the start are
as in `inception_v4.py`.

Deviations: where a figure's last convolution has another number of maps than its input, so that the
            two could not be added, the sum of the branches holds: 1152 for 1154 in figure 17, and
            2144 for 2048 in figure 19. The linear convolutions have a bias and no normalization, as
            in the release; section 3.2 has normalization on "traditional layers" only. There is no
            auxiliary classifier, which the figures lack, although the release trains with one.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import flax.linen as nn
import jax

from cnn_archs.models.branches import (
    ApplyLayer,
    InnerAvgPool,
    Mixed,
    Module,
    check_size,
    classify,
    layer_of,
    run_layers,
)
from cnn_archs.models.fields import BnGroup, Count, Dtype, Factor, Rate
from cnn_archs.models.inception_v4 import FIGURE_3, Blocks, figure_7
from cnn_archs.models.layers import INITIALIZERS, Conv, choice, maybe_remat, relu
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool

Scale = Annotated[float, "more than 0 and at most 1"]
# fmt: off
SHARED_STEM: dict[str, Any] = {       # outputs
    "conv1": ("3x3/2", 32),           # 149x149
    "conv2": ("3x3/1", 32),           # 147x147
    "conv3": ("3x3", 64),             # 147x147
    "pool1": ("3x3/2", MaxPool),      # 73x73
    "conv4": ("1x1", 80),             # 73x73
    "conv5": ("3x3/1", 192),          # 71x71
}
FIGURE_14 = {
    **SHARED_STEM,
    "conv6": ("3x3/2", 256),          # 35x35
}
RELEASED_STEM = {
    **SHARED_STEM,
    "pool2": ("3x3/2", MaxPool),      # 35x35
    "mixed": {                        # 35x35x320
        "1x1":       [("1x1", 96)],
        "5x5":       [("1x1", 48), ("5x5", 64)],
        "double3x3": [("1x1", 64), ("3x3", 96), ("3x3", 96)],
        "pool":      [("3x3", InnerAvgPool), ("1x1", 64)],
    },
}


def module_a(first: int, second: int) -> Module:
    return {
        "1x1":       [("1x1", 32)],
        "3x3":       [("1x1", 32), ("3x3", 32)],
        "double3x3": [("1x1", 32), ("3x3", first), ("3x3", second)],
    }
def module_b(single: int, first: int, second: int) -> Module:
    return {
        "1x1":       [("1x1", single)],
        "7x7":       [("1x1", 128), ("1x7", first), ("7x1", second)],
    }
def module_c(first: int, second: int) -> Module:
    return {
        "1x1":       [("1x1", 192)],
        "3x3":       [("1x1", 192), ("1x3", first), ("3x1", second)],
    }
def reduction_b(second: int, third: int, fourth: int) -> Module:
    return {
        "3x3":       [("1x1", 256), ("3x3/2", 384)],
        "3x3b":      [("1x1", 256), ("3x3/2", second)],
        "double3x3": [("1x1", 256), ("3x3", third), ("3x3/2", fourth)],
        "pool":      [("3x3/2", MaxPool)],
    }
FIGURE_10, FIGURE_16 = module_a(32, 32), module_a(48, 64)
FIGURE_11, FIGURE_17 = module_b(128, 128, 128), module_b(192, 160, 192)
FIGURE_13, FIGURE_19 = module_c(192, 192), module_c(224, 256)
FIGURE_12, FIGURE_18 = reduction_b(256, 256, 256), reduction_b(288, 288, 320)
# fmt: on


class Design(NamedTuple):
    """The parts of a form. modules: A, B and C. after: layers after the last module."""

    stem: dict[str, Any]
    modules: tuple[Module, Module, Module]
    reductions: tuple[Module, Module]
    after: dict[str, Any]


V2_REDUCTIONS = (figure_7("inception_resnet_v2"), FIGURE_18)
FORMS = {
    "v1": Design(
        FIGURE_14,
        (FIGURE_10, FIGURE_11, FIGURE_13),
        (figure_7("inception_resnet_v1"), FIGURE_12),
        {},
    ),
    "v2": Design(FIGURE_3, (FIGURE_16, FIGURE_17, FIGURE_19), V2_REDUCTIONS, {}),
    "released": Design(
        RELEASED_STEM,
        (FIGURE_16, FIGURE_17, FIGURE_19),
        V2_REDUCTIONS,
        {"conv7": ("1x1", 1536)},
    ),
}


class Residual(nn.Module):
    """A module with a shortcut: x + scale * linear(branches of x), and a ReLU unless it is last."""

    branches: Module
    scale: float
    last: bool
    dtype: str
    layer: ApplyLayer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to the same shape."""
        y = Mixed(self.branches, self.layer, name="branches")(x)
        init, maps = INITIALIZERS["he"], x.shape[-1]
        y = Conv(maps, (1, 1), 1, 0, kernel_init=init, dtype=self.dtype, name="linear")(y)
        x = x + self.scale * y
        return x if self.last else relu(x)


class InceptionResNet(Network):
    """The network of figure 15, or the released one.

    form: the modules, see FORMS. blocks: number of modules A, B and C. scale: factors of the
    residuals in A, B and C.
    """

    num_classes: Count = 1000
    form: Literal["v1", "v2", "released"] = "released"
    blocks: Blocks = (10, 20, 10)
    scale: tuple[Scale, Scale, Scale] = (0.17, 0.1, 0.2)
    dropout: Rate = 0.2
    bn_group: BnGroup = 0  # images that share batch statistics; 0: all; -1: one device's
    width: Factor = 1.0  # multiplies all widths except the number of classes
    remat: bool = False  # whether modules are rematerialized in the backward pass
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes].

        Raises ValueError if the image is smaller than 75x75.
        """
        check_size("inception_resnet", image, 75)
        design = choice("form", self.form, FORMS)
        layer, again = layer_of(self, train), self.remat and train
        run = partial(run_layers, self, layer, again=again)

        def residual(_: Any, x: jax.Array, name: str, **how: Any) -> jax.Array:
            return Residual(**how, dtype=self.dtype, layer=layer, name=name)(x)

        x = run(image, design.stem.items())
        for i, letter in enumerate("ABC"):
            for name, how in self.residuals(design, i):
                x = maybe_remat(again, self, partial(residual, name=name, **how), x)
            if i < 2:
                x = run(x, [(f"reduction_{letter}", design.reductions[i])])
        x = run(x, design.after.items())
        return {"logits": classify(self, x, train)}

    def residuals(self, design: Design, stage: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name and the fields of each module of a stage: 0, 1 and 2 are A, B and C."""
        count, scale = self.blocks[stage], self.scale[stage]
        for i in range(1, count + 1):
            last = self.form == "released" and stage == 2 and i == count
            how = dict(branches=design.modules[stage], scale=1.0 if last else scale, last=last)
            yield f"{'ABC'[stage]}{i}", how


VARIANTS: dict[str, Callable[..., Network]] = {
    "inception_resnet_v1": partial(InceptionResNet, form="v1", blocks=(5, 10, 5)),
    "inception_resnet_v2": InceptionResNet,
    "inception_resnet_v2_paper": partial(InceptionResNet, form="v2", blocks=(5, 10, 5)),
}
