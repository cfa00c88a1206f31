"""AlexNet (Krizhevsky, Sutskever & Hinton 2012; figure 2, sections 3 to 5).

    conv1 11x11/4  LRN  pool1  conv2 5x5  LRN  pool2  conv3  conv4  conv5  pool5  fc6  fc7  fc8
    55x55x96            27x27  27x27x256       13x13  x384   x384   x256   6x6    4096 4096 1000

`alexnet` is the network as printed. It has two towers, which meet in conv3 and in the dense layers
(conv2, conv4 and conv5 have two groups), response normalization and then overlapping pooling after
conv1 and conv2, ReLU everywhere, and dropout of half of the outputs of fc6 and fc7. Weights are
initialized as in section 5: N(0, 0.01^2), biases 1 in conv2, conv4, conv5, fc6 and fc7, and 0
elsewhere. The network has 60,965,224 parameters.

One override removes each improvement that the paper claims: `activation=tanh`, `lrn=false`,
`pool=(2,2)` or `dropout=0.0`. `alexnet_one_gpu` is the paper's smaller network for one GPU.

Deviations: the input is 227x227, since with the printed 224 conv1 cannot have 55x55 outputs.
            One device holds both towers, and the normalization runs across both; the paper does
            not say whether it should. Its constants are those printed; Caffe's AlexNet has
            `lrn_k=1` and `lrn_alpha_over_n=true`.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_archs.models.fields import (
    Above0,
    AtLeast0,
    Count,
    Dtype,
    Factor,
    Maps,
    Pixels,
    Rate,
    Side,
)
from cnn_archs.models.layers import (
    INITIALIZERS,
    LRN,
    Activation,
    Conv,
    FullyConnected,
    Initializer,
    activation,
    choice,
    dense_pair,
    scaled,
)
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool


class AlexNet(Network):
    """Five convolutions with pooling and response normalization, then three dense layers.

    groups: number of groups of conv2, conv4 and conv5. stem: window, stride and padding of conv1.
    pool: window and stride. lrn_k, lrn_n, lrn_alpha, lrn_beta, lrn_alpha_over_n: see `LRN`.
    lrn_after_pool: whether pooling precedes the normalization, as in CaffeNet. dropout: fraction
    of the `outputs` of fc6 and fc7, or of their `inputs` (`dropout_on`), that is dropped.
    initializer: `normal` as printed; `glorot` or `he` with zero biases; or `torch`, with weights
    and biases uniform in +-1/sqrt(fan-in). width: multiplies all widths except the number of
    classes.
    """

    num_classes: Count = 1000
    widths: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256)
    hidden: tuple[Count, Count] = (4096, 4096)
    groups: Count = 2
    stem: tuple[Side, Side, Pixels] = (11, 4, 0)
    pool: tuple[Side, Side] = (3, 2)
    activation: Activation = "relu"
    lrn: bool = True
    lrn_k: Above0 = 2.0
    lrn_n: Maps = 5
    lrn_alpha: AtLeast0 = 1e-4
    lrn_beta: AtLeast0 = 0.75
    lrn_alpha_over_n: bool = False
    lrn_after_pool: bool = False
    dropout: Rate = 0.5
    dropout_on: Literal["inputs", "outputs"] = "outputs"
    initializer: Literal["normal", "torch", "glorot", "he"] = "normal"
    width: Factor = 1.0
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes].

        The comments give the maps of a 227x227 image. On an image larger than at initialization the
        logits are averaged over all positions.
        """
        act = activation(self.activation)
        widths = [scaled(w, self.width, self.groups) for w in self.widths]
        drop = nn.Dropout(self.dropout, deterministic=not train)
        before = choice("dropout_on", self.dropout_on, {"inputs": True, "outputs": False})

        def conv(x, number, window, stride=1, groups=1):
            kernel_init, bias_init = self.initializers(f"conv{number}", window**2, x, groups)
            padding = self.stem[2] if number == 1 else window // 2
            layer = Conv(
                widths[number - 1],
                (window, window),
                stride,
                padding,
                feature_group_count=groups,
                kernel_init=kernel_init,
                bias_init=bias_init,
                dtype=self.dtype,
                name=f"conv{number}",
            )
            return act(layer(x))

        def dense(x, width, name):
            kernel_init, bias_init = self.initializers(name, x.shape[1] * x.shape[2], x)
            return FullyConnected(width, kernel_init, bias_init, self.dtype, name=name)(x)

        def norm(x, name):
            if not self.lrn:
                return x
            constants = (self.lrn_k, self.lrn_n, self.lrn_alpha, self.lrn_beta)
            return LRN(*constants, self.lrn_alpha_over_n, name=name)(x)

        def pool(x, name):
            return MaxPool(*self.pool, name=name)(x)

        def norm_pool(x, number):
            if self.lrn_after_pool:
                return norm(pool(x, f"pool{number}"), f"lrn{number}")
            return pool(norm(x, f"lrn{number}"), f"pool{number}")

        window, stride, _ = self.stem
        x = norm_pool(conv(image, 1, window, stride), 1)  # 27x27x96
        x = norm_pool(conv(x, 2, 5, groups=self.groups), 2)  # 13x13x256
        x = conv(x, 3, 3)  # 13x13x384
        x = conv(x, 4, 3, groups=self.groups)  # 13x13x384
        x = pool(conv(x, 5, 3, groups=self.groups), "pool5")  # 6x6x256
        for name, hidden in zip(("fc6", "fc7"), self.hidden, strict=True):
            x = drop(x) if before else x
            x = act(dense(x, scaled(hidden, self.width), name))
            x = x if before else drop(x)
        return {"logits": dense(x, self.num_classes, "fc8").mean((1, 2))}

    def initializers(
        self, layer: str, positions: int, x: jax.Array, groups: int = 1
    ) -> tuple[Initializer, Initializer]:
        """Return the initializers of the weights and the biases of `layer`.

        positions: number of positions that a unit of the layer sees in each of its input maps.
        """
        bound = (positions * x.shape[-1] // groups) ** -0.5
        one = layer in ("conv2", "conv4", "conv5", "fc6", "fc7")
        own = {
            "normal": (nn.initializers.normal(0.01), nn.initializers.constant(float(one))),
            "torch": (uniform(bound), uniform(bound)),
        }
        known = {name: (init, nn.initializers.zeros) for name, init in INITIALIZERS.items()}
        return choice("initializer", self.initializer, own | known)

    def split_over(self, devices: int) -> dict[str, str]:
        """Return fc6 and fc7, and all convolutions if each device can hold one tower.

        In the paper, each of the two GPUs held one tower.
        """
        towers = [f"conv{i}" for i in range(1, 6)] if devices == self.groups else []
        dense = dense_pair(tuple(scaled(h, self.width) for h in self.hidden), devices)
        return dict.fromkeys(towers, "outputs") | dense


def uniform(bound: float) -> Initializer:
    """Return an initializer that draws uniformly from [-bound, bound)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


one_tower = partial(AlexNet, groups=1)
VARIANTS: dict[str, Callable[..., AlexNet]] = {
    "alexnet": AlexNet,
    # The form without groups, which textbooks show, has 62,378,344 parameters.
    "alexnet_one_tower": one_tower,
    # Section 3.2 and its footnote: it has half of the kernels, except in the last convolution, and
    # dense layers of full size.
    "alexnet_one_gpu": partial(one_tower, widths=(48, 128, 192, 192, 256)),
    # "One weird trick" (Krizhevsky 2014) as in torchvision: 224x224, padding 2, no LRN.
    "alexnet_owt": partial(
        one_tower,
        widths=(64, 192, 384, 256, 256),
        stem=(11, 4, 2),
        lrn=False,
        dropout_on="inputs",
        initializer="torch",
    ),
    # Our form for 32x32: conv1 3x3/1 with padding 1, dense layers of 1024, all else as printed; the
    # maps are 32, 15, 7 and 3 wide. Parameters of the convolutions:
    # 2,688 + 307,456 + 885,120 + 663,936 + 442,624 = 2,301,824; of the dense layers:
    # (3*3*256 + 1)*1024 + (1024 + 1)*1024 + (1024 + 1)*10 = 3,420,170; 5,721,994 in all.
    "alexnet_cifar": partial(AlexNet, num_classes=10, hidden=(1024, 1024), stem=(3, 1, 1)),
}
