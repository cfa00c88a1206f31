"""GoogLeNet (Szegedy et al. 2014; table 1, figures 2 and 3, section 5).

`googlenet` is the network as printed: ReLU after every convolution, 3x3/2 max-pools whose last
window may extend beyond the edge (112 -> 56 -> 28 -> 14 -> 7), response normalization before and
after conv2 (figure 3), and auxiliary classifiers after 4a and 4d in training. It has 6,998,552
parameters, 13,378,280 with the auxiliary classifiers.

Initialization, which the paper does not give: Glorot's (Caffe's filler of that name uses the fan-in
only), with biases of 0.2 except in the last layers, as in the Caffe release.

Deviations: the constants of the normalization, which the paper does not give, are AlexNet's;
            the Caffe release has `lrn_k=1` and `lrn_alpha_over_n=true`.
            `googlenet_bn` has batch normalization instead of biases and no response normalization.
            `googlenet_torchvision` is torchvision's network: 3x3 where the paper has 5x5,
            a 2x2 pool before 5a, another auxiliary pool, dropout 0.2, and weights N(0, 0.01^2) cut
            at two deviations (torchvision's dense biases start uniform as torch's; ours at 0).
            `googlenet_separable` has a separable first convolution of multiplier 8, which gives
            the numbers that table 1 prints for it (2.7K parameters, 34M operations).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax

from cnn_archs.models.fields import (
    Above0,
    AtLeast0,
    BnGroup,
    Count,
    Dtype,
    Factor,
    FactorOrZero,
    Maps,
    Rate,
    Side,
)
from cnn_archs.models.inception import (
    INCEPTION,
    ApplyLayer,
    Auxiliary,
    Inception,
    Module,
    Widths,
    Window,
)
from cnn_archs.models.layers import (
    INITIALIZERS,
    LRN,
    Conv,
    ConvNorm,
    FullyConnected,
    choice,
    maybe_remat,
    relu,
    scaled,
)
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import GlobalAvgPool, MaxPool

AUXILIARY = ("4a", "4d")  # the modules with a classifier of their own


class GoogLeNet(Network):
    """Table 1, row by row.

    modules: the rows of INCEPTION. scale_1x1 and so on: multiply the widths of that branch in all
    modules; 0 removes the branch. width: multiplies all widths of the network except the number of
    classes. module, window: see `Inception`. stem: the first convolution, `7x7`, `separable` (7x7),
    or, for 32x32 images, `3x3` with stride 1 and no pool before 3a. lrn_k, lrn_n,
    lrn_alpha, lrn_beta, lrn_alpha_over_n: see `LRN`. initializer: `glorot` or `he`
    with biases of 0.2, or torchvision's `truncated` with biases of 0. bn_group: number of images
    that share batch statistics; 0 for the whole batch, -1 for the images of one device. remat:
    whether each module is rematerialized in the backward pass.
    """

    num_classes: Count = 1000
    modules: Mapping[str, Widths] = nn.FrozenDict(INCEPTION)
    module: Module = "reduced"
    window: Window = 5
    scale_1x1: FactorOrZero = 1.0
    scale_3x3: FactorOrZero = 1.0
    scale_5x5: FactorOrZero = 1.0
    scale_pool: FactorOrZero = 1.0
    stem: Literal["7x7", "separable", "3x3"] = "7x7"
    lrn: bool = True
    lrn_k: Above0 = 2.0
    lrn_n: Maps = 5
    lrn_alpha: AtLeast0 = 1e-4
    lrn_beta: AtLeast0 = 0.75
    lrn_alpha_over_n: bool = False
    pool4: tuple[Side, Side] = (3, 2)
    aux: bool = True
    aux_pool: Literal["5x5/3", "adaptive"] = "5x5/3"
    dropout: Rate = 0.4
    aux_dropout: Rate = 0.7
    batch_norm: bool = False
    bn_group: BnGroup = 0
    epsilon: Above0 = 1e-5
    initializer: Literal["glorot", "he", "truncated"] = "glorot"
    width: Factor = 1.0
    remat: bool = False
    dtype: Dtype = "float32"

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes].

        In training, unless aux is False, the heads `aux_4a` and `aux_4d` have that shape too.
        """
        return self.heads(image, train, auxiliary=self.aux and train)

    def every_head(self, image: jax.Array) -> dict[str, jax.Array]:
        """Return the logits and, unless aux is False, the auxiliary logits, without dropout."""
        return self.heads(image, train=False, auxiliary=self.aux)

    @nn.compact
    def heads(self, image: jax.Array, train: bool, auxiliary: bool) -> dict[str, jax.Array]:
        """Compute the heads; `auxiliary` adds the auxiliary ones. Comments are for 224x224."""
        truncated = nn.initializers.truncated_normal(0.01)
        init = choice("initializer", self.initializer, {"truncated": truncated, **INITIALIZERS})
        bias = nn.initializers.constant(0.0 if self.initializer == "truncated" else 0.2)

        def conv(x, width, window, name, stride=1):
            options: Any = dict(strides=stride, padding=window // 2, dtype=self.dtype)
            options |= dict(kernel_init=init, name=name)
            if self.batch_norm:
                options |= dict(epsilon=self.epsilon, bn_group=self.bn_group)
                return relu(ConvNorm(width, (window, window), **options)(x, train=train))
            return relu(Conv(width, (window, window), bias_init=bias, **options)(x))

        def dense(x, width, name):
            bias_init = nn.initializers.zeros if name == "fc2" else bias
            return FullyConnected(width, init, bias_init, self.dtype, name=name)(x)

        def norm(x, name):
            if not self.lrn:
                return x
            constants = (self.lrn_k, self.lrn_n, self.lrn_alpha, self.lrn_beta)
            return LRN(*constants, self.lrn_alpha_over_n, name=name)(x)

        def inception(x, name):
            widths = self.branches(name)
            module = Inception(widths, self.module, self.window, conv, name=name)
            return maybe_remat(self.remat and train, module, Inception.__call__, x)

        def pool(x, name, window=3, stride=2):
            return MaxPool(window, stride, ceil=True, name=name)(x)

        heads = {}
        x = self.first(image, conv)  # 112x112x64
        x = norm(pool(x, "pool1"), "lrn1")  # 56x56x64
        if self.stem != "3x3":
            x = conv(x, scaled(64, self.width), 1, "conv2_reduce")
        x = norm(conv(x, scaled(192, self.width), 3, "conv2"), "lrn2")  # 56x56x192
        if self.stem != "3x3":
            x = pool(x, "pool2")  # 28x28x192
        for name in self.modules:
            if name == "4a":
                x = pool(x, "pool3")  # 14x14x480
            if name == "5a":
                x = pool(x, "pool4", *self.pool4)  # 7x7x832
            x = inception(x, name)
            if name in AUXILIARY and auxiliary:
                head = Auxiliary(
                    self.num_classes,
                    self.aux_pool,
                    self.aux_dropout,
                    self.width,
                    conv,
                    dense,
                    name=f"aux_{name}",
                )
                heads[f"aux_{name}"] = head(x, train=train)
        x = GlobalAvgPool(name="pool5")(x)  # 1024
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        fc = nn.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="fc")
        return {"logits": fc(x), **heads}

    def first(self, image: jax.Array, conv: ApplyLayer) -> jax.Array:
        """Apply the first convolution: f32[N, H, W, C] -> f32[N, H/2, W/2, 64]."""
        width = scaled(64, self.width)
        window, stride = choice("stem", self.stem, STEMS)
        if self.stem == "separable":
            each = image.shape[-1]
            depthwise = Conv(
                8 * each,
                (window, window),
                stride,
                padding=window // 2,
                feature_group_count=each,
                use_bias=False,
                kernel_init=INITIALIZERS["he"],
                dtype=self.dtype,
                name="conv1_depthwise",
            )
            return conv(depthwise(image), width, 1, "conv1_pointwise")
        return conv(image, width, window, "conv1", stride)

    def branches(self, name: str) -> Widths:
        """Return the scaled widths of the module `name`."""
        one, three, five, pool = (
            scale * self.width
            for scale in (self.scale_1x1, self.scale_3x3, self.scale_5x5, self.scale_pool)
        )
        factors = (one, three, three, five, five, pool)
        return tuple(  # type: ignore[return-value]
            scaled(w, f) if w and f else 0 for w, f in zip(self.modules[name], factors, strict=True)
        )


STEMS = {"7x7": (7, 2), "separable": (7, 2), "3x3": (3, 1)}  # window, stride


class InceptionModule(Network):
    """A single inception module, to study its cost; its logits are the means of its maps.

    Examples: module 3a on 28x28x192, or a single branch with widths (0, 0, 0, 16, 32, 0).
    """

    widths: Widths = INCEPTION["3a"]
    module: Module = "reduced"
    window: Window = 5
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, sum of the branches]."""

        def conv(x, width, window, name):
            size, pad = (window, window), window // 2
            return relu(Conv(width, size, 1, pad, dtype=self.dtype, name=name)(x))

        x = Inception(self.widths, self.module, self.window, conv, name="inception")(image)
        return {"logits": GlobalAvgPool(name="pool")(x)}


VARIANTS: dict[str, Callable[..., Network]] = {
    "googlenet": GoogLeNet,
    "googlenet_separable": partial(GoogLeNet, stem="separable"),
    "googlenet_bn": partial(GoogLeNet, batch_norm=True, lrn=False),
    "googlenet_torchvision": partial(
        GoogLeNet,
        batch_norm=True,
        lrn=False,
        epsilon=1e-3,
        window=3,
        pool4=(2, 2),
        aux_pool="adaptive",
        dropout=0.2,
        initializer="truncated",
    ),
    # Our form for 32x32: conv1 3x3/1 64, pool, conv2 3x3 192, then 3a on 16x16, 4a on 8x8 (whose
    # auxiliary pool gives 2x2), 5a on 4x4. Compared with googlenet, conv1 has 1,792 parameters
    # instead of 9,472, the 4,160 of conv2_reduce are gone, and the classifier of 10 has 10,250
    # instead of 1,025,000: 6,998,552 - 7,680 - 4,160 - 1,014,750 = 5,971,962.
    "googlenet_cifar": partial(GoogLeNet, num_classes=10, stem="3x3"),
    "inception_module": InceptionModule,
}
