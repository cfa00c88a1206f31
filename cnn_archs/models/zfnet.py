"""ZFNet (Zeiler & Fergus 2013; figure 3, sections 2 and 3).

    conv1 7x7/2  pool1  LRN  conv2 5x5/2  pool2  LRN  conv3  conv4  conv5  pool5  fc6  fc7  fc8
    110x110x96   55x55       26x26x256    13x13       x384   x384   x256   6x6    4096 4096 1000

This is AlexNet with a smaller window and stride in conv1, a stride in conv2, and no groups: every
map of a layer feeds every map of the next. It has ReLU everywhere, overlapping pooling followed by
normalization across maps, and dropout of half of the outputs of fc6 and fc7. Biases start at 0.
The network has 62,357,608 parameters.

Overrides give the sizes that table 3 compares: `hidden=(2048,2048)`, `hidden=(8192,8192)` and
`widths=(96,256,512,1024,512)`, which is also (b) of table 2.

Deviations: the paper prints no padding. The following padding gives the maps of figure 3: 1 in
            conv1, 0 in conv2, 1 in conv3 to conv5, and none in the pools, whose last window may
            extend beyond the edge; with 1 in the pools, pool5 would be 7x7. The last row and
            column of conv1's padding are never reached; one pixel of padding after the image
            instead of before it also gives 110x110.
            The paper refers to AlexNet for the constants of the normalization, so they are
            AlexNet's: k 2, n 5, alpha 1e-4, beta 0.75.
            "All weights are initialized to 10^-2" is read as N(0, 0.01^2), since maps that start
            equal would stay equal.
            Dropout "in the fully connected layers (6 and 7)" is applied to their outputs.
            The limit on the filters' RMS (section 3) belongs to the recipe and is not here.
"""

import flax.linen as nn
import jax

from cnn_archs.models.fields import Count, Dtype, Factor, Rate
from cnn_archs.models.layers import LRN, Conv, FullyConnected, relu, scaled
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool


class ZFNet(Network):
    """Figure 3: two layers of conv, ReLU, pool, LRN; three of 3x3, a pool; three dense layers.

    widths: maps of conv1 to conv5. hidden: units of fc6 and fc7. dropout: fraction of their outputs
    that is dropped. width: multiplies all widths except the number of classes.
    """

    num_classes: Count = 1000
    widths: tuple[Count, Count, Count, Count, Count] = (96, 256, 384, 384, 256)
    hidden: tuple[Count, Count] = (4096, 4096)
    dropout: Rate = 0.5
    width: Factor = 1.0
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes].

        The comments give the maps of a 224x224 image. On an image larger than at initialization the
        logits are averaged over all positions.
        """
        normal = nn.initializers.normal(0.01)
        drop = nn.Dropout(self.dropout, deterministic=not train)

        def conv(x, number, window, stride, padding):
            layer = Conv(
                scaled(self.widths[number - 1], self.width),
                (window, window),
                stride,
                padding,
                kernel_init=normal,
                dtype=self.dtype,
                name=f"conv{number}",
            )
            return relu(layer(x))

        def pool(x, name):
            return MaxPool(3, 2, padding=0, ceil=True, name=name)(x)

        def dense(x, width, name):
            return FullyConnected(width, normal, dtype=self.dtype, name=name)(x)

        x = conv(image, 1, 7, stride=2, padding=1)  # 110x110x96
        x = LRN(name="lrn1")(pool(x, "pool1"))  # 55x55x96
        x = conv(x, 2, 5, stride=2, padding=0)  # 26x26x256
        x = LRN(name="lrn2")(pool(x, "pool2"))  # 13x13x256
        x = conv(x, 3, 3, stride=1, padding=1)  # 13x13x384
        x = conv(x, 4, 3, stride=1, padding=1)  # 13x13x384
        x = conv(x, 5, 3, stride=1, padding=1)  # 13x13x256
        x = pool(x, "pool5")  # 6x6x256
        for name, hidden in zip(("fc6", "fc7"), self.hidden, strict=True):
            x = drop(relu(dense(x, scaled(hidden, self.width), name)))
        return {"logits": dense(x, self.num_classes, "fc8").mean((1, 2))}
