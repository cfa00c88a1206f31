"""The classic CNNs a second time, in PyTorch: the reference of the parity tests.

Written from the papers and from the well-known PyTorch ports, without sight of the JAX code. Every
network is a function of a dict of weights, named as torchvision names them (as akamaster's
pytorch_resnet_cifar10 for CIFAR), and of image: [N, C, H, W], and returns `(heads, stats)`:

    heads  {"logits": [N, classes]}, and GoogLeNet's "aux_4a" and "aux_4d" in training
    stats  {name of a batch norm: (mean, biased variance) of its input}, empty out of training

Widths come from the shapes of the weights; a dense layer's input is flattened in (C, H, W) order.
Dropout is never applied. A missing weight is a KeyError: no bias is optional by accident.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

relu = F.relu


@dataclass
class Pass:
    """One forward pass: the weights, the mode, and the batch statistics met on the way."""

    weights: dict[str, Tensor]
    train: bool
    eps: float = 1e-5
    stats: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def conv(self, x, name, stride=1, padding=0, groups=1, bias=True):
        b = self.weights[f"{name}.bias"] if bias else None
        return F.conv2d(x, self.weights[f"{name}.weight"], b, stride, padding, groups=groups)

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x, name):
        """gamma (x - mean) / sqrt(var + eps) + beta, of the batch or of the running statistics."""
        if self.train:
            mean = x.mean((0, 2, 3))
            var = (x - mean[:, None, None]).square().mean((0, 2, 3))
            self.stats[name] = (mean.detach(), var.detach())
        else:
            mean = self.weights[f"{name}.running_mean"]
            var = self.weights[f"{name}.running_var"]
        scale = self.weights[f"{name}.weight"] / torch.sqrt(var + self.eps)
        shift = self.weights[f"{name}.bias"]
        return (x - mean[:, None, None]) * scale[:, None, None] + shift[:, None, None]


def local_response_norm(x, k=2.0, n=5, alpha=1e-4, beta=0.75):
    """x_i / (k + alpha sum x_j^2)^beta, j within n // 2 of i and clipped (AlexNet section 3.3)."""
    squares = F.pad(x.square(), (0, 0, 0, 0, n // 2, n // 2))
    total = sum(squares[:, j : j + x.shape[1]] for j in range(n))
    return x / (k + alpha * total) ** beta


def alexnet(weights, image, *, train, groups=2, stride=4, padding=0, lrn=True, pool=(3, 2)):
    """conv1 by `stride` and `padding`; conv2, conv4, conv5 in `groups`; pool: (window, stride)."""
    net = Pass(weights, train)

    def norm_and_pool(x):
        return F.max_pool2d(local_response_norm(x) if lrn else x, *pool)

    x = norm_and_pool(relu(net.conv(image, "features.0", stride, padding)))
    x = norm_and_pool(relu(net.conv(x, "features.3", padding=2, groups=groups)))
    x = relu(net.conv(x, "features.6", padding=1))
    x = relu(net.conv(x, "features.8", padding=1, groups=groups))
    x = relu(net.conv(x, "features.10", padding=1, groups=groups))
    x = F.max_pool2d(x, *pool).flatten(1)
    x = relu(net.linear(x, "classifier.1"))
    x = relu(net.linear(x, "classifier.4"))
    return {"logits": net.linear(x, "classifier.6")}, net.stats


VGG_BLOCKS = {  # the padding of every convolution: 2 for 5x5, 1 for 3x3, 0 for 1x1
    "A": ((1,), (1,), (1, 1), (1, 1), (1, 1)),
    "B": ((1, 1), (1, 1), (1, 1), (1, 1), (1, 1)),
    "B_5x5": ((2,), (2,), (2,), (2,), (2,)),
    "C": ((1, 1), (1, 1), (1, 1, 0), (1, 1, 0), (1, 1, 0)),
    "D": ((1, 1), (1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "E": ((1, 1), (1, 1), (1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
}


def vgg(weights, image, *, train, column, norm=False, lrn=False, side=None):
    """Given `side`, of the trained map: the dense layers as convolutions, the scores averaged."""
    net = Pass(weights, train)
    x, index = image, 0  # index: of the next layer in torchvision's `features`
    for block in VGG_BLOCKS[column]:
        for padding in block:
            x = net.conv(x, f"features.{index}", padding=padding)
            x = relu(net.norm(x, f"features.{index + 1}") if norm else x)
            x = local_response_norm(x) if lrn and index == 0 else x
            index += 3 if norm else 2
        x = F.max_pool2d(x, 2, 2)
        index += 1
    x = x.flatten(1) if side is None else x
    for name in ("classifier.0", "classifier.3"):
        x = relu(dense(net, x, name, side))
        side = side and 1
    x = dense(net, x, "classifier.6", side)
    return {"logits": x if side is None else x.mean((2, 3))}, net.stats


def dense(net, x, name, side):
    """A dense layer; with `side`, as the valid convolution by a side x side kernel."""
    if side is None:
        return net.linear(x, name)
    weight = net.weights[f"{name}.weight"]
    kernel = weight.reshape(len(weight), -1, side, side)
    return F.conv2d(x, kernel, net.weights[f"{name}.bias"])


def googlenet(weights, image, *, train, variant):
    """Table 1, with the auxiliary heads on 4a and 4d in training."""
    assert variant in ("paper", "bn", "torchvision", "naive", "separable", "cifar"), variant
    net = Pass(weights, train, eps=1e-3 if variant == "torchvision" else 1e-5)
    heads = {}
    x = googlenet_stem(net, image, variant)
    for module in ("3a", "3b", "pool", "4a", "4b", "4c", "4d", "4e", "pool4", "5a", "5b"):
        if module == "pool4" and variant == "torchvision":
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        elif module.startswith("pool"):
            x = halve(x)
        else:
            x = inception(net, x, f"inception{module}", variant)
        if train and module in ("4a", "4d"):
            name = "aux1" if module == "4a" else "aux2"
            heads[f"aux_{module}"] = auxiliary_head(net, x, name, variant)
    return {"logits": net.linear(x.mean((2, 3)), "fc"), **heads}, net.stats


def halve(x):
    """Max-pool 3x3/2 without padding, the last window cut by the border (Caffe's ceil mode)."""
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


def unit(net, x, name, variant, stride=1, padding=0):
    """Convolution and ReLU: with a bias, or with a batch norm between them."""
    if variant in ("bn", "torchvision"):
        x = net.conv(x, f"{name}.conv", stride, padding, bias=False)
        return relu(net.norm(x, f"{name}.bn"))
    return relu(net.conv(x, f"{name}.conv", stride, padding))


def googlenet_stem(net, image, variant):
    """From the image to the input of module 3a."""
    lrn = variant not in ("bn", "torchvision")
    if variant == "separable":
        x = net.conv(image, "conv1.depthwise", 2, 3, groups=image.shape[1], bias=False)
        x = relu(net.conv(x, "conv1.pointwise"))
    elif variant == "cifar":
        x = unit(net, image, "conv1", variant, padding=1)
    else:
        x = unit(net, image, "conv1", variant, stride=2, padding=3)
    x = halve(x)
    x = local_response_norm(x) if lrn else x
    x = unit(net, x, "conv2", variant) if variant != "cifar" else x
    x = unit(net, x, "conv3", variant, padding=1)
    x = local_response_norm(x) if lrn else x
    return halve(x) if variant != "cifar" else x


def inception(net, x, name, variant):
    """Figure 2b, or 2a when naive: 1x1, 3x3, 5x5 and max-pool side by side, in this order."""
    pooled = F.max_pool2d(x, 3, 1, 1)
    padding_5x5 = 1 if variant == "torchvision" else 2  # torchvision has a 3x3 in its place
    one, three, five, last = (f"{name}.branch{i}" for i in (1, 2, 3, 4))
    narrow_3 = narrow_5 = x
    if variant != "naive":
        narrow_3 = unit(net, x, f"{three}.0", variant)
        narrow_5 = unit(net, x, f"{five}.0", variant)
        pooled = unit(net, pooled, f"{last}.1", variant)
    a = unit(net, x, one, variant)
    b = unit(net, narrow_3, f"{three}.1", variant, padding=1)
    c = unit(net, narrow_5, f"{five}.1", variant, padding=padding_5x5)
    return torch.cat((a, b, c, pooled), 1)


def auxiliary_head(net, x, name, variant):
    x = F.adaptive_avg_pool2d(x, 4) if variant == "torchvision" else F.avg_pool2d(x, 5, 3)
    x = unit(net, x, f"{name}.conv", variant).flatten(1)
    return net.linear(relu(net.linear(x, f"{name}.fc1")), f"{name}.fc2")


@dataclass(frozen=True)
class Residual:
    """Holds what the blocks of one net share; `projection` names a block's shortcut convolution.

    zeros_around: half of the zero maps of option A stand before the others, as in akamaster's.
    """

    projection: str
    shortcut: str
    bottleneck: bool = False
    stride_in: str = "1x1"
    preactivation: bool = False
    zeros_around: bool = False

    def __post_init__(self):
        assert self.shortcut in ("A", "B", "C", "none"), self.shortcut
        assert self.stride_in in ("1x1", "3x3"), self.stride_in

    def convs(self, stride):
        """(stride, padding) of a block's convolutions."""
        if not self.bottleneck:
            return (stride, 1), (1, 1)
        in_1x1, in_3x3 = (stride, 1) if self.stride_in == "1x1" else (1, stride)
        return (in_1x1, 0), (in_3x3, 1), (1, 0)


def resnet(weights, image, *, train, blocks, shortcut="B", **options):
    """The ImageNet nets: 7x7/2 stem, pool, stages of `blocks`; options: the fields of Residual."""
    kind = Residual("downsample", shortcut, **options)
    net = Pass(weights, train)
    x = relu(net.norm(net.conv(image, "conv1", 2, 3, bias=False), "bn1"))
    x = F.max_pool2d(x, 3, 2, 1)
    x = residual_stages(net, x, blocks, kind, activated_stem=True)
    return {"logits": net.linear(x.mean((2, 3)), "fc")}, net.stats


def cifar_resnet(weights, image, *, train, blocks, shortcut="A", **options):
    """The 32x32 nets: 3x3 stem, bare before pre-activation; options: the fields of Residual."""
    kind = Residual("shortcut", shortcut, **options)
    net = Pass(weights, train)
    x = net.conv(image, "conv1", 1, 1, bias=False)
    x = x if kind.preactivation else relu(net.norm(x, "bn1"))
    x = residual_stages(net, x, blocks, kind, activated_stem=False)
    return {"logits": net.linear(x.mean((2, 3)), "linear")}, net.stats


def residual_stages(net, x, blocks, kind, activated_stem):
    """Every stage but the first opens with stride 2; bn_final and ReLU close a v2 net."""
    for stage, depth in enumerate(blocks, 1):
        for i in range(depth):
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            if not kind.preactivation:
                x = residual_block(net, x, name, stride, kind)
                continue
            first = stage == 1 and i == 0  # its two paths share one activation
            activated = x if first and activated_stem else relu(net.norm(x, f"{name}.bn1"))
            x = activated if first else x
            x = preactivation_block(net, x, activated, name, stride, kind)
    return relu(net.norm(x, "bn_final")) if kind.preactivation else x


def residual_block(net, x, name, stride, kind):
    """relu(F(x) + shortcut), F: conv-bn-ReLU-conv-bn, or three of them in a bottleneck."""
    y = x
    for i, (s, p) in enumerate(kind.convs(stride), 1):
        y = relu(y) if i > 1 else y
        y = net.norm(net.conv(y, f"{name}.conv{i}", s, p, bias=False), f"{name}.bn{i}")
    return relu(add_shortcut(net, y, x, name, stride, kind))


def preactivation_block(net, x, activated, name, stride, kind):
    """F(activated) + shortcut, F: conv-bn-ReLU-conv(-bn-ReLU-conv), nothing after the addition."""
    y = activated
    for i, (s, p) in enumerate(kind.convs(stride), 1):
        y = relu(net.norm(y, f"{name}.bn{i}")) if i > 1 else y
        y = net.conv(y, f"{name}.conv{i}", s, p, bias=False)
    x = activated if changes_shape(x, y, stride) else x
    return add_shortcut(net, y, x, name, stride, kind)


def changes_shape(x, y, stride):
    return stride != 1 or x.shape[1] != y.shape[1]


def add_shortcut(net, y, x, name, stride, kind):
    """y plus x: projected (B where the shape changes, C everywhere), zero-padded (A) or as is."""
    changed, projection = changes_shape(x, y, stride), f"{name}.{kind.projection}"
    if kind.shortcut == "none":
        return y
    if kind.shortcut == "C" or (kind.shortcut == "B" and changed):
        x = net.conv(x, f"{projection}.0", stride, bias=False)
        return y + (x if kind.preactivation else net.norm(x, f"{projection}.1"))
    if changed:
        zeros = y.shape[1] - x.shape[1]
        before = zeros // 2 if kind.zeros_around else 0
        x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, before, zeros - before))
    return y + x
