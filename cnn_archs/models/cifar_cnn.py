"""The four-layer network for CIFAR-10 in the AlexNet paper (Krizhevsky et al. 2012).

    conv1 5x5  LRN  pool1  conv2 5x5  LRN  pool2  conv3 5x5  pool3  fc4
    32x32x32        15x15  15x15x32        7x7    7x7x64     3x3    10

The paper uses it to show that ReLU learns faster than tanh (section 3.1, figure 1) and that
response normalization helps (section 3.3). For both activations, weights have Glorot's
initialization and biases start at 0.

Deviations: the paper does not print the layout. This one follows the paper's large network:
            response normalization and then overlapping pooling.
"""

import flax.linen as nn
import jax

from cnn_archs.models.fields import Count, Dtype, Factor
from cnn_archs.models.layers import (
    INITIALIZERS,
    LRN,
    Activation,
    Conv,
    FullyConnected,
    activation,
    scaled,
)
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool


class FourLayers(Network):
    """Three convolutions, each followed by activation and pooling, and a classifier.

    lrn: whether response normalization precedes the first two pools. width: multiplies all widths
    except the number of classes.
    """

    num_classes: Count = 10
    widths: tuple[Count, Count, Count] = (32, 32, 64)
    activation: Activation = "relu"
    lrn: bool = False
    width: Factor = 1.0
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes].

        The comments give the maps of a 32x32 image. On an image larger than at initialization the
        logits are averaged over all positions.
        """
        act, init, x = activation(self.activation), INITIALIZERS["glorot"], image
        for i, width in enumerate(self.widths, start=1):
            conv = Conv(
                scaled(width, self.width),
                (5, 5),
                strides=1,
                padding=2,
                kernel_init=init,
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = act(conv(x))
            if self.lrn and i < 3:
                x = LRN(name=f"lrn{i}")(x)
            x = MaxPool(3, 2, name=f"pool{i}")(x)  # 15x15, 7x7, 3x3
        x = FullyConnected(self.num_classes, init, dtype=self.dtype, name="fc4")(x)
        return {"logits": x.mean((1, 2))}
