"""Network in Network for CIFAR-10 (Lin, Chen & Yan 2013, figure 2).

    conv1 5x5  cccp1 1x1  cccp2 1x1  pool1 3x3/2, maximum    dropout 0.5
    192        160        96         16x16
    conv2 5x5  cccp3 1x1  cccp4 1x1  pool2 3x3/2, mean       dropout 0.5
    192        192        192        8x8
    conv3 3x3  cccp5 1x1  cccp6 1x1  pool3, the mean over the whole map
    192        192        10

A stack is a convolution whose units are small perceptrons: a 1x1 convolution is a layer that sees
all maps at one position (section 3.1). A ReLU follows each layer, the last one too; the means of
the last maps, one for each class, are the logits (section 3.2). There are 966,986 parameters.

The paper leaves the sizes to its supplement; these, padding that keeps the size, and pools whose
last window may extend beyond the edge are those of the authors' released network. There, weights
start as N(0, 0.05^2) and biases at 0.

Deviations: section 4.1 has a maximum in all pools, the release the mean in the second one;
            `pool2="max"` is the paper's word.
"""

from typing import Literal

import flax.linen as nn
import jax

from cnn_archs.models.fields import Count, Dtype, Factor, Rate
from cnn_archs.models.layers import Conv, choice, relu, scaled
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import AvgPool, GlobalAvgPool, MaxPool

INIT = nn.initializers.normal(0.05)
WINDOWS = (5, 5, 3)  # of the first layer of each stack
WIDTHS = ((192, 160, 96), (192, 192, 192), (192, 192))  # cccp6 has a map for each class


class NIN(Network):
    """Three stacks of a convolution and two 1x1 convolutions.

    pool2: the second pool, `mean` or `max`. dropout: fraction of the outputs of the first two
    stacks that are dropped.
    """

    num_classes: Count = 10
    pool2: Literal["mean", "max"] = "mean"
    dropout: Rate = 0.5
    width: Factor = 1.0  # multiplies all widths except the number of classes
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes]. Comments are for 32x32."""
        pools = (MaxPool, choice("pool2", self.pool2, {"mean": AvgPool, "max": MaxPool}))
        x = image
        for i, (window, widths) in enumerate(zip(WINDOWS, WIDTHS, strict=True)):
            maps = [scaled(w, self.width) for w in widths]
            maps += [self.num_classes] * (3 - len(maps))
            x = self.layer(x, maps[0], window, f"conv{i + 1}")
            x = self.layer(x, maps[1], 1, f"cccp{2 * i + 1}")
            x = self.layer(x, maps[2], 1, f"cccp{2 * i + 2}")
            if i < len(pools):
                x = pools[i](3, 2, ceil=True, name=f"pool{i + 1}")(x)  # 16x16, 8x8
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return {"logits": GlobalAvgPool(name="pool3")(x)}

    def layer(self, x: jax.Array, maps: int, window: int, name: str) -> jax.Array:
        """Return the ReLUs of a convolution that keeps the size of x."""
        size, pad = (window, window), window // 2
        return relu(Conv(maps, size, 1, pad, kernel_init=INIT, dtype=self.dtype, name=name)(x))
