"""Caffe's networks a second time: written as .caffemodel files, and computed in torch.

Files are encoded by the protobuf library from the field numbers of caffe.proto. `forward` computes
in float64 what Caffe's layers compute, from the layers themselves.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# message: {field: (number, type)}; a star is a repeated field, and a name in capitals a message.
SCHEMA = {
    "Shape": {"dim": (1, "int64*")},
    "Blob": {
        **{"num": (1, "int32"), "channels": (2, "int32"), "height": (3, "int32")},
        **{"width": (4, "int32"), "data": (5, "float*"), "shape": (7, "Shape")},
        **{"double_data": (8, "double*")},
    },
    "Filler": {"type": (1, "string"), "std": (6, "float")},
    "Conv": {
        **{"num_output": (1, "uint32"), "bias_term": (2, "bool"), "group": (5, "uint32")},
        **{"pad": (3, "uint32u"), "kernel_size": (4, "uint32u"), "stride": (6, "uint32u")},
        **{"weight_filler": (7, "Filler"), "stride_h": (13, "uint32"), "stride_w": (14, "uint32")},
    },
    "Inner": {"num_output": (1, "uint32"), "transpose": (6, "bool")},
    "Lrn": {
        **{"local_size": (1, "uint32"), "alpha": (2, "float"), "beta": (3, "float")},
        **{"norm_region": (4, "int32"), "k": (5, "float")},
    },
    "Pool": {
        **{"pool": (1, "int32"), "kernel_size": (2, "uint32"), "stride": (3, "uint32")},
        **{"pad": (4, "uint32"), "global_pooling": (12, "bool")},
    },
    "Norm": {"use_global_stats": (1, "bool"), "eps": (3, "float")},
    "Leak": {"negative_slope": (1, "float")},
    "Layer": {
        **{"name": (1, "string"), "type": (2, "string"), "bottom": (3, "string*")},
        **{"top": (4, "string*"), "blobs": (7, "Blob*"), "convolution_param": (106, "Conv")},
        **{"inner_product_param": (117, "Inner"), "lrn_param": (118, "Lrn")},
        **{"pooling_param": (121, "Pool"), "relu_param": (123, "Leak")},
        **{"batch_norm_param": (139, "Norm")},
    },
    "Oldest": {"name": (1, "string")},
    "V1": {
        **{"layer": (1, "Oldest"), "bottom": (2, "string*"), "top": (3, "string*")},
        **{"name": (4, "string"), "type": (5, "int32"), "blobs": (6, "Blob*")},
        **{"blobs_lr": (7, "floatu"), "convolution_param": (10, "Conv")},
        **{"inner_product_param": (17, "Inner"), "lrn_param": (18, "Lrn")},
        **{"pooling_param": (19, "Pool"), "relu_param": (30, "Leak")},
    },
    "Net": {
        **{"name": (1, "string"), "layers": (2, "V1*"), "input": (3, "string*")},
        **{"input_dim": (4, "int32u"), "layer": (100, "Layer*")},
    },
}
V1_TYPES = {
    **{"Convolution": 4, "Data": 5, "Dropout": 6, "InnerProduct": 14, "LRN": 15, "Pooling": 17},
    **{"ReLU": 18, "Softmax": 20, "Concat": 3},
}
PARAMS = {
    **{"Convolution": "convolution_param", "InnerProduct": "inner_product_param"},
    **{"LRN": "lrn_param", "Pooling": "pooling_param", "BatchNorm": "batch_norm_param"},
    "ReLU": "relu_param",
}


def message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="caffe_test.proto", package="t")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            word = kind.rstrip("*u")
            entry = message.field.add(name=field, number=number)
            entry.label = 3 if kind != word else 1
            if word in SCHEMA:
                entry.type, entry.type_name = 11, f".t.{word}"
            else:
                entry.type = getattr(entry, f"TYPE_{word.upper()}")
                if kind == word + "*" and word != "string":
                    entry.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"t.{name}")) for name in SCHEMA}


MESSAGES = message_classes()


class Net:
    """A network as a list of layers: dicts of name, type, bottom, top, blobs and settings."""

    def __init__(self, seed: int = 0) -> None:
        self.layers: list[dict[str, Any]] = []
        self.random = np.random.default_rng(seed)

    def add(self, kind: str, name: str, bottom: Any, top: str = "", blobs: Any = (), **settings):
        bottoms = [bottom] if isinstance(bottom, str) else list(bottom)
        self.layers.append(
            dict(name=name, type=kind, bottom=bottoms, top=top or name, blobs=list(blobs))
            | dict(settings=settings)
        )
        return top or name

    def drawn(self, *shape: int, low: float = -1.0) -> np.ndarray:
        return self.random.uniform(low, 1, shape).astype(np.float32)

    def conv(self, x, name, inputs, outputs, size, bias=True, relu=True, **settings):
        group = settings.get("group", 1)
        kernel = self.drawn(outputs, inputs // group, size, size)
        kernel *= 1.5 / math.sqrt(inputs // group * size * size)
        blobs = [kernel, 0.1 * self.drawn(outputs)][: 1 + bias]
        settings = dict(num_output=outputs, kernel_size=size, bias_term=bias) | settings
        self.add("Convolution", name, x, blobs=blobs, **settings)
        return self.add("ReLU", f"relu_{name}", name, name) if relu else name

    def dense(self, x, name, inputs, outputs, relu=True):
        matrix = 1.5 * self.drawn(outputs, inputs) / math.sqrt(inputs)
        self.add("InnerProduct", name, x, blobs=[matrix, 0.1 * self.drawn(outputs)])
        return self.add("ReLU", f"relu_{name}", name, name) if relu else name

    def norm(self, x, name, scale, width, factor=1.0):
        blobs = [factor * 0.1 * self.drawn(width), factor * self.drawn(width, low=0.2)]
        self.add("BatchNorm", name, x, x, [*blobs, np.array([factor], np.float32)])
        return self.add("Scale", scale, x, x, [self.drawn(width, low=0.5), 0.1 * self.drawn(width)])

    def encoded(self, v1: bool = False) -> bytes:
        """The file as Caffe writes it, in the form of before 2015 or of today."""
        net = MESSAGES["Net"](name="a test", input=["data"], input_dim=[1, 3, 64, 64])
        for layer in self.layers:
            (net.layers if v1 else net.layer).append(encode_layer(layer, v1))
        return net.SerializeToString()

    def forward(self, image: np.ndarray) -> dict[str, torch.Tensor]:
        """Return what each top holds in the end, for image [N, 3, H, W] of the channels B, G, R."""
        tops = {"data": torch.tensor(image, dtype=torch.float64)}
        for layer in self.layers:
            if all(b in tops for b in layer["bottom"]):
                tops[layer["top"]] = compute(layer, [tops[b] for b in layer["bottom"]])
        return tops


def encode_layer(layer: dict[str, Any], v1: bool) -> Any:
    message = MESSAGES["V1" if v1 else "Layer"](
        name=layer["name"],
        type=V1_TYPES[layer["type"]] if v1 else layer["type"],
        bottom=layer["bottom"],
        top=[layer["top"]],
    )
    if v1:
        message.blobs_lr.extend([1.0, 2.0])
    for array in layer["blobs"]:
        blob = message.blobs.add()
        blob.data.extend(array.ravel())
        if v1:  # four axes: biases are 1x1x1xN, matrices 1x1xNxM
            sizes = (1,) * (4 - array.ndim) + array.shape
            blob.num, blob.channels, blob.height, blob.width = sizes
        else:
            blob.shape.dim.extend(array.shape)
    if layer["settings"]:
        stated = getattr(message, PARAMS[layer["type"]])
        for key, value in layer["settings"].items():
            if key in ("pad", "kernel_size", "stride") and layer["type"] == "Convolution":
                getattr(stated, key).append(value)
            else:
                setattr(stated, key, value)
        if layer["type"] == "Convolution":
            stated.weight_filler.type = "xavier"
    return message


def compute(layer: dict[str, Any], inputs: list[torch.Tensor]) -> torch.Tensor:
    """One of Caffe's layers, in float64."""
    x, s = inputs[0], layer["settings"]
    blobs = [torch.tensor(b, dtype=torch.float64) for b in layer["blobs"]]
    match layer["type"]:
        case "Convolution":
            options = dict(stride=s.get("stride", 1), padding=s.get("pad", 0))
            bias = blobs[1] if len(blobs) > 1 else None
            return F.conv2d(x, blobs[0], bias, groups=s.get("group", 1), **options)
        case "InnerProduct":
            return x.flatten(1) @ blobs[0].T + blobs[1]
        case "ReLU":
            return x.relu()
        case "LRN":
            n, k = s.get("local_size", 5), s.get("k", 1.0)
            squares = F.pad(x.square(), (0, 0, 0, 0, n // 2, n // 2))
            total = sum(squares[:, j : j + x.shape[1]] for j in range(n))
            return x / (k + s["alpha"] / n * total) ** s["beta"]
        case "Pooling" if s.get("global_pooling"):
            return x.mean((2, 3), keepdim=True)
        case "Pooling":
            pool = F.avg_pool2d if s["pool"] else F.max_pool2d
            return pool(x, s["kernel_size"], s["stride"], s.get("pad", 0), ceil_mode=True)
        case "BatchNorm":
            mean, var = blobs[0] / blobs[2], blobs[1] / blobs[2]
            eps = s.get("eps", 1e-5)
            return (x - mean[:, None, None]) / (var[:, None, None] + eps).sqrt()
        case "Scale":
            return x * blobs[0][:, None, None] + blobs[1][:, None, None]
        case "Eltwise":
            return inputs[0] + inputs[1]
        case "Concat":
            return torch.cat(inputs, 1)
        case kind:
            raise AssertionError(kind)


LRN: dict[str, Any] = dict(
    local_size=5, alpha=1e-4, beta=0.75
)  # as the released files state it: k is 1


def alexnet(widths=(8, 12, 16, 16, 8), hidden=(10, 6), classes=5, caffenet=False, side=67, **lrn):
    """bvlc_alexnet, or with `caffenet` bvlc_reference_caffenet, whose pools precede the LRN."""
    net = Net()
    x, inputs = "data", 3
    maps = (side - 11) // 4 + 1
    for i, width in enumerate(widths, start=1):
        size = {1: 11, 2: 5}.get(i, 3)
        settings = dict(stride=4) if i == 1 else dict(pad=size // 2)
        settings |= dict(group=2) if i in (2, 4, 5) else {}
        x, inputs = net.conv(x, f"conv{i}", inputs, width, size, **settings), width
        steps = ["pool"] if i == 5 else (["pool", "norm"] if caffenet else ["norm", "pool"])
        for step in steps if i in (1, 2, 5) else ():
            if step == "pool":
                x = net.add("Pooling", f"pool{i}", x, pool=0, kernel_size=3, stride=2)
                maps = math.ceil((maps - 3) / 2) + 1
            else:
                x = net.add("LRN", f"norm{i}", x, **(LRN | lrn))
    x = net.dense(x, "fc6", inputs * maps**2, hidden[0])
    x = net.dense(x, "fc7", *hidden)
    net.dense(x, "fc8", hidden[1], classes, relu=False)
    return net


def vgg(blocks, hidden=4, classes=5, side=64):
    """VGG_ILSVRC_16_layers or 19, with a sixteenth of the maps."""
    net = Net()
    x, inputs = "data", 3
    for block, layers in enumerate(blocks, start=1):
        for i in range(1, layers + 1):
            width = min(2 ** (block + 1), 32)
            x, inputs = net.conv(x, f"conv{block}_{i}", inputs, width, 3, pad=1), width
        x = net.add("Pooling", f"pool{block}", x, pool=0, kernel_size=2, stride=2)
    x = net.dense(x, "fc6", inputs * (side // 32) ** 2, hidden)
    x = net.dense(x, "fc7", hidden, hidden)
    net.dense(x, "fc8", hidden, classes, relu=False)
    return net


def resnet(blocks=(1, 2, 3, 1), classes=5, counted=(4,), conv1_bias=True):
    """ResNet-50, or 101 where a stage is in `counted`, with a sixteenth of the maps."""
    net = Net()
    net.conv("data", "conv1", 3, 4, 7, bias=conv1_bias, relu=False, stride=2, pad=3)
    net.norm("conv1", "bn_conv1", "scale_conv1", 4, factor=999.98)
    net.add("ReLU", "conv1_relu", "conv1", "conv1")
    x, inputs = net.add("Pooling", "pool1", "conv1", pool=0, kernel_size=3, stride=2), 4
    for stage, units in enumerate(blocks, start=2):
        width = 2**stage
        for unit in range(units):
            numbered = f"b{unit}" if unit and stage in counted else "abcdef"[unit]
            name = f"{stage}{numbered}"
            stride = 2 if stage > 2 and unit == 0 else 1

            def branch(x, which, inputs, outputs, size, stride=1, name=name):
                full = f"{name}_{which}"
                options = dict(bias=False, relu=False, pad=size // 2, stride=stride)
                net.conv(x, f"res{full}", inputs, outputs, size, **options)
                return net.norm(f"res{full}", f"bn{full}", f"scale{full}", outputs, factor=2.0)

            shortcut = x if unit else branch(x, "branch1", inputs, 4 * width, 1, stride)
            y = branch(x, "branch2a", inputs, width, 1, stride)
            y = branch(net.add("ReLU", f"res{name}_a", y, y), "branch2b", width, width, 3)
            y = branch(net.add("ReLU", f"res{name}_b", y, y), "branch2c", width, 4 * width, 1)
            net.add("Eltwise", f"res{name}", [shortcut, y])
            x, inputs = net.add("ReLU", f"res{name}_relu", f"res{name}", f"res{name}"), 4 * width
    net.add("Pooling", "pool5", x, pool=1, global_pooling=True)
    net.dense("pool5", "fc1000", inputs, classes, relu=False)
    return net


def googlenet(modules, classes=5):
    """bvlc_googlenet with a sixteenth of the maps. modules: {name: the six widths of table 1}."""
    net = Net()

    def pool(x, name, stride=2, pad=0):
        return net.add("Pooling", name, x, pool=0, kernel_size=3, stride=stride, pad=pad)

    x = net.conv("data", "conv1/7x7_s2", 3, 4, 7, pad=3, stride=2)
    x = net.add("LRN", "pool1/norm1", pool(x, "pool1/3x3_s2"), **LRN)
    x = net.conv(x, "conv2/3x3_reduce", 4, 4, 1)
    x = net.conv(x, "conv2/3x3", 4, 12, 3, pad=1)
    x = pool(net.add("LRN", "conv2/norm2", x, **LRN), "pool2/3x3_s2")
    inputs = 12
    for module, widths in modules.items():
        one, reduce3, three, reduce5, five, project = (max(1, round(w / 16)) for w in widths)
        x = pool(x, f"pool{int(module[0]) - 1}/3x3_s2") if module in ("4a", "5a") else x
        name = f"inception_{module}"
        a = net.conv(x, f"{name}/1x1", inputs, one, 1)
        b = net.conv(x, f"{name}/3x3_reduce", inputs, reduce3, 1)
        b = net.conv(b, f"{name}/3x3", reduce3, three, 3, pad=1)
        c = net.conv(x, f"{name}/5x5_reduce", inputs, reduce5, 1)
        c = net.conv(c, f"{name}/5x5", reduce5, five, 5, pad=2)
        d = pool(x, f"{name}/pool", stride=1, pad=1)
        d = net.conv(d, f"{name}/pool_proj", inputs, project, 1)
        x = net.add("Concat", f"{name}/output", [a, b, c, d])
        inputs = one + three + five + project
        if module in ("4a", "4d"):
            head = {"4a": "loss1", "4d": "loss2"}[module]
            y = net.add("Pooling", f"{head}/ave_pool", x, pool=1, kernel_size=5, stride=3)
            y = net.conv(y, f"{head}/conv", inputs, 8, 1)
            y = net.dense(y, f"{head}/fc", 8 * 2 * 2, 64)
            net.dense(y, f"{head}/classifier", 64, classes, relu=False)
    net.add("Pooling", "pool5", x, pool=1, global_pooling=True)
    net.dense("pool5", "loss3/classifier", inputs, classes, relu=False)
    return net
