"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, section II.B and appendices A, C).

`LeNet5_1998` is the network as printed: partially connected C3, trainable subsampling, the scaled
hyperbolic tangent after every layer up to F6, and Euclidean RBF outputs. It has 60,000 trainable
parameters.
Deviations: the ten 7x12 bitmaps of the RBF units are redrawn by hand, since the paper only shows
            them in a picture (figure 3). The paper prints the range of initial weights; that
            biases and the coefficients of the subsampling are drawn from it too is ours.

`LeNet5_1998_EBLearn` is the same network with the initial values and the energy of its authors'
later library (EBLearn, 2008): weights within 1 / sqrt(F), biases of 0, coefficients of 0.5, and
half of the squared distance.

`LeNet5` is the network that lecture notes and textbooks teach: fully connected C3, tanh, average
pooling without parameters, softmax. It has 61,706 parameters.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.models.cpu.convolution import convolve
from cnn_archs.models.fields import Count, Dtype, Pixels
from cnn_archs.models.layers import Activation, activation
from cnn_archs.models.network import (
    WHOLE,
    Layer,
    Network,
    SquashedChain,
    Windows,
    windows_of,
)
from cnn_archs.models.pooling import AvgPool

# fmt: off
C3_TABLE = (             # Table I: X if the S2 map (row) feeds the C3 map (column)
    "X   XXX  XXXX XX",
    "XX   XXX  XXXX X",
    "XXX   XXX  X XXX",
    " XXX  XXXX  X XX",
    "  XXX  XXXX XX X",
    "   XXX  XXXX XXX",
)

BITMAPS = (              # redrawn after figure 3: one per digit, 7 wide, 12 high
    """
     .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
     ..###..  ...#...  .#####.  .#####.  .....#.  #######  ..####.  #######  .#####.  .#####.
     .#...#.  ..##...  #.....#  #.....#  ....##.  #......  .#.....  ......#  #.....#  #.....#
     #.....#  .#.#...  ......#  ......#  ...#.#.  #......  #......  .....#.  #.....#  #.....#
     #.....#  ...#...  ......#  ......#  ..#..#.  #......  #......  .....#.  #.....#  #.....#
     #.....#  ...#...  .....#.  ..####.  .#...#.  ######.  #.####.  ....#..  .#####.  .######
     #.....#  ...#...  ....#..  ......#  #....#.  ......#  ##....#  ....#..  #.....#  ......#
     #.....#  ...#...  ...#...  ......#  #######  ......#  #.....#  ...#...  #.....#  ......#
     #.....#  ...#...  ..#....  ......#  .....#.  ......#  #.....#  ...#...  #.....#  ......#
     .#...#.  ...#...  .#.....  #.....#  .....#.  #.....#  #.....#  ..#....  #.....#  .....#.
     ..###..  .#####.  #######  .#####.  .....#.  .#####.  .#####.  ..#....  .#####.  .####..
     .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
    """
)
# fmt: on

C3_MASK = np.array([[c == "X" for c in row] for row in C3_TABLE])  # bool[6, 16]
RBF_CENTERS = np.array(  # f32[10, 84], +1 for ink, -1 for paper
    [
        [1.0 if c == "#" else -1.0 for row in digit for c in row]
        for digit in zip(*(line.split() for line in BITMAPS.strip().splitlines()), strict=True)
    ],
    np.float32,
)

Conv5x5 = partial(nn.Conv, kernel_size=(5, 5), conv_general_dilated=convolve)


class LeNet5(Network):
    """LeNet-5 as taught: convolution, activation, average pooling; logits for a softmax.

    padding: of C1; 2 for 28x28 images, 0 for images already centered in 32x32.
    """

    num_classes: Count = 10
    activation: Activation = "tanh"
    widths: tuple[Count, Count, Count, Count] = (6, 16, 120, 84)
    padding: Pixels = 2
    dtype: Dtype = "float32"

    gains_from_onednn = False  # its convolutions are written for few channels

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes]. Comments are for 28x28."""
        init = nn.initializers.glorot_uniform()
        act = activation(self.activation)

        def conv(width: int, padding: int, name: str) -> nn.Conv:
            return Conv5x5(width, padding=padding, kernel_init=init, dtype=self.dtype, name=name)

        def dense(width: int, name: str) -> nn.Dense:
            return nn.Dense(width, kernel_init=init, dtype=self.dtype, name=name)

        x = act(conv(self.widths[0], self.padding, "C1")(image))  # 28x28x6
        x = AvgPool(2, 2, name="S2")(x)  # 14x14x6
        x = act(conv(self.widths[1], 0, "C3")(x))  # 10x10x16
        x = AvgPool(2, 2, name="S4")(x)  # 5x5x16
        if min(x.shape[1:3]) < 5:
            enough = (33 - min(image.shape[1:3])) // 2
            raise ValueError(
                f"lenet5 takes images of 32x32 or larger after padding, not {image.shape[1]}x"
                f"{image.shape[2]} with padding {self.padding}: --config.model.padding={enough}"
            )
        x = act(conv(self.widths[2], 0, "C5")(x))  # 1x1x120
        x = act(dense(self.widths[3], "F6")(x.reshape(x.shape[0], -1)))  # 84
        return {"logits": dense(self.num_classes, "OUT7")(x)}


def squash(a: jax.Array) -> jax.Array:
    """Return A tanh(S a), A = 1.7159, S = 2/3 (appendix A), which maps +-1 to +-1 within 3e-6."""
    return 1.7159 * jnp.tanh(2.0 / 3.0 * a)


Initializer = Callable[..., jax.Array]


def uniform(fan_in: int | np.ndarray) -> Initializer:
    """Return an initializer that draws uniformly from +-2.4 / F_i (section III.B).

    fan_in: F_i, the inputs of a unit without its bias; one number, or one for each unit along the
    last axis.
    """
    return within(2.4 / np.asarray(fan_in, np.float32))


def uniform_by_root(fan_in: int | np.ndarray) -> Initializer:
    """Return an initializer that draws uniformly from +-1 / sqrt(F_i). fan_in: see `uniform`."""
    return within(1.0 / np.sqrt(np.asarray(fan_in, np.float32)))


def within(bound: np.ndarray) -> Initializer:
    """Return an initializer that draws uniformly from +-bound, one number or one for each unit."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        scale = jnp.broadcast_to(jnp.asarray(bound, dtype), shape)
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) * scale

    return init


class Initial(NamedTuple):
    """Holds the initializers of the layers of a LeNet.

    weights, biases: functions from the inputs of a unit, as `uniform` takes them, to an
    initializer. coefficients: the initializer of the coefficients of the subsampling.
    """

    weights: Callable[[int | np.ndarray], Initializer]
    biases: Callable[[int | np.ndarray], Initializer]
    coefficients: Initializer

    def of_layer(self, fan_in: int) -> dict[str, Any]:
        """Return the arguments of a flax layer whose units have `fan_in` inputs."""
        return {"kernel_init": self.weights(fan_in), "bias_init": self.biases(fan_in)}


PRINTED = Initial(uniform, uniform, uniform(4))
EBLEARN = Initial(uniform_by_root, lambda _: nn.initializers.zeros, nn.initializers.constant(0.5))


class Subsample(Layer):
    """S2, S4: the sum of each 2x2 square times a trainable coefficient plus a trainable bias.

    copies: the number of maps of output for each map of input, each with its own coefficient.
    """

    copies: int = 1
    initial: Initial = PRINTED

    kind = "subsampling"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, H/2, W/2, copies C]."""
        x = jnp.repeat(x, self.copies, axis=-1) if self.copies > 1 else x
        coefficient = self.param("coefficient", self.initial.coefficients, (x.shape[-1],))
        bias = self.param("bias", self.initial.biases(4), (x.shape[-1],))
        n, h, w, c = x.shape
        total = x.reshape(n, h // 2, 2, w // 2, 2, c).sum((2, 4))
        return total * coefficient.reshape(1, 1, 1, c) + bias.reshape(1, 1, 1, c)

    def windows(self) -> Windows:
        return windows_of(2, 2, 0)


class TableConv(Layer):
    """C3: a 5x5 convolution whose output maps (columns of `table`) see only some input maps (rows).

    In Table I the parameters are the 60 connections, f32[5, 5, 60]. The full kernel
    f32[5, 5, 6, 16] is assembled from them, with zeros for unconnected maps.
    """

    table: tuple[str, ...] = C3_TABLE
    initial: Initial = PRINTED

    kind = "conv"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, rows] to f32[N, H-4, W-4, columns]."""
        mask = np.array([[c == "X" for c in row] for row in self.table])
        fan_in = 25 * mask.sum(0)  # in Table I 75, 100 or 150
        connections = np.argwhere(mask)  # int[60, 2]: input map, output map
        init = self.initial.weights(fan_in[connections[:, 1]])
        weights = self.param("kernel", init, (5, 5, len(connections)))
        bias = self.param("bias", self.initial.biases(fan_in), (mask.shape[1],))
        place = np.zeros((len(connections), *mask.shape), np.float32)
        place[np.arange(len(connections)), connections[:, 0], connections[:, 1]] = 1.0
        kernel = jnp.einsum("hwk,kio->hwio", weights, place, precision="highest")
        return convolve(x, kernel) + bias.reshape(1, 1, 1, -1)

    def windows(self) -> Windows:
        return windows_of(5, 1, 0)


class RBF(Layer):
    """The output layer: y_i = sum_j (x_j - w_ij)^2, with fixed centers w (section II.B)."""

    kind = "rbf"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, 84] to penalties y: f32[N, 10]."""
        return jnp.square(x[:, None, :] - RBF_CENTERS[None]).sum(-1)

    def windows(self) -> Windows:
        return WHOLE

    def macs(self, params: Mapping[str, Any], out: tuple[int, int, int]) -> int:
        """Count one squared difference per connection: 840."""
        return RBF_CENTERS.size


class LeNet5_1998(SquashedChain):
    """LeNet-5 as printed; its logits are the negated penalties of the RBF units.

    As a `SquashedChain` it gives access to its layers, which the paper's second-order method needs.
    INITIAL: the initializers of its layers. ENERGY: the factor of the penalties.
    """

    INITIAL: ClassVar[Initial] = PRINTED
    ENERGY: ClassVar[float] = 1.0

    num_classes = 10  # bitmaps of the ten digits
    gains_from_onednn = False
    LAYERS = ("C1", "S2", "C3", "S4", "C5", "F6")
    squash = staticmethod(squash)

    def setup(self):
        initial = self.INITIAL
        self.C1 = Conv5x5(6, padding=0, **initial.of_layer(25))
        self.S2 = Subsample(initial=initial)
        self.C3 = TableConv(initial=initial)
        self.S4 = Subsample(initial=initial)
        self.C5 = Conv5x5(120, padding=0, **initial.of_layer(400))
        self.F6 = nn.Dense(84, **initial.of_layer(120))
        self.RBF = RBF()

    def output(self, x: jax.Array) -> dict[str, jax.Array]:
        """Map the states of F6, x: f32[N, 1, 1, 84], to logits: f32[N, 10]."""
        return {"logits": -self.ENERGY * self.RBF(x.reshape(x.shape[0], -1))}

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, 32, 32, 1], values in [-0.1, 1.175], to logits: f32[N, 10]."""
        if image.shape[1:] != (32, 32, 1):
            raise ValueError(f"lenet5_1998 takes 32x32x1 images, not {image.shape[1:]}")
        x = image
        for layer in self.LAYERS:  # 28x28x6 14x14x6 10x10x16 5x5x16 1x1x120 84
            x = squash(self.affine(x, layer))
        return self.output(x)


class LeNet5_1998_EBLearn(LeNet5_1998):
    """LeNet-5 as printed, with the initial values and the energy of EBLearn."""

    INITIAL = EBLEARN
    ENERGY = 0.5
