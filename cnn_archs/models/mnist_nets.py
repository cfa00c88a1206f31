"""The two small networks for MNIST in the lecture notes: a multilayer perceptron and a first CNN.

The notes give the accuracies (97.86 % and 99.01 %), the 784 inputs, MaxPooling2D(2) and
Dropout(0.25). The widths are those of the textbook that the slides follow. The networks have
407,050 and 1,199,882 parameters on 28x28x1.
"""

import flax.linen as nn
import jax

from cnn_archs.models.cpu.convolution import convolve
from cnn_archs.models.fields import Count, Dtype, Rate
from cnn_archs.models.layers import Activation, activation
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool


class MLP(Network):
    """Dense layers with an activation after all but the last; in the notes 784, 512, 10 units."""

    num_classes: Count = 10
    hidden: tuple[Count, ...] = (512,)
    activation: Activation = "relu"
    dtype: Dtype = "float32"

    gains_from_onednn = False  # it has no convolutions

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes]."""
        act = activation(self.activation)
        x = image.reshape(image.shape[0], -1)
        for i, width in enumerate(self.hidden, start=1):
            x = act(dense(width, self.dtype, f"fc{i}")(x))
        return {"logits": dense(self.num_classes, self.dtype, f"fc{len(self.hidden) + 1}")(x)}


class CNN(Network):
    """Two 3x3 convolutions, a 2x2/2 max-pool and two dense layers after dropout."""

    num_classes: Count = 10
    widths: tuple[Count, Count] = (32, 64)
    hidden: Count = 128
    activation: Activation = "relu"
    dropout_conv: Rate = 0.25
    dropout_dense: Rate = 0.5
    dtype: Dtype = "float32"

    gains_from_onednn = False  # its convolutions are written for few channels

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes]. Comments are for 28x28."""
        act = activation(self.activation)
        x = image
        for i, width in enumerate(self.widths, start=1):
            conv = nn.Conv(
                width,
                (3, 3),
                padding=0,
                conv_general_dilated=convolve,
                kernel_init=nn.initializers.glorot_uniform(),
                dtype=self.dtype,
                name=f"conv{i}",
            )
            x = act(conv(x))  # 26x26x32, 24x24x64
        x = MaxPool(2, 2, name="pool")(x)  # 12x12x64
        x = nn.Dropout(self.dropout_conv, deterministic=not train)(x)
        x = x.reshape(x.shape[0], -1)
        x = act(dense(self.hidden, self.dtype, "fc1")(x))
        x = nn.Dropout(self.dropout_dense, deterministic=not train)(x)
        return {"logits": dense(self.num_classes, self.dtype, "fc2")(x)}


def dense(width: int, dtype: str, name: str) -> nn.Dense:
    """Create a dense layer with Keras' default initialization: Glorot uniform, zero bias."""
    return nn.Dense(width, kernel_init=nn.initializers.glorot_uniform(), dtype=dtype, name=name)
