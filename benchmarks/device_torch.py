"""PyTorch's side of `device.py`: time training steps of a network on random images.

`python device_torch.py SETTINGS` prints a JSON object, `device_cases.Measured`, in its last line.
SETTINGS is a JSON object with network, compile, auxiliary, image (H, W, C), batch, batches (in
memory) and seconds (timed). Maps are channels_last, products are in bfloat16 by autocast, and SGD
is fused where the device is a GPU. The package of this repository is not needed.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch_imagenet
from torch.nn.functional import cross_entropy

CHUNK = 10  # steps between two looks at the clock, for which the device is waited for


def make_step(settings: dict[str, Any], device: str) -> tuple[Callable[[int], None], int]:
    """Return step(number), which trains on one of the batches in memory, and the parameters."""
    height, width, channels = settings["image"]
    count = settings["batches"] * settings["batch"]
    images = torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8)
    images, labels = images.to(device), torch.randint(0, 1000, (count,)).to(device)
    net: Any = torch_imagenet.NETWORKS[settings["network"]]()
    with torch.no_grad():
        net.eval()(torch.zeros(1, channels, height, width))  # sets the size of lazy layers
    net = net.train().to(device).to(memory_format=torch.channels_last)
    params = sum(p.numel() for p in net.parameters())
    forward = torch.compile(net) if settings["compile"] else net
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=device == "cuda"
    )

    def step(number: int) -> None:
        start = number % settings["batches"] * settings["batch"]
        batch = slice(start, start + settings["batch"])
        optimizer.zero_grad(set_to_none=True)
        pixels = images[batch].permute(0, 3, 1, 2)  # channels_last by its strides
        with torch.autocast(device, dtype=torch.bfloat16):
            heads = forward(pixels.float().mul_(2 / 255).sub_(1))
            loss = cross_entropy(heads.pop("logits"), labels[batch])
            for head in heads.values():
                loss = loss + settings["auxiliary"] * cross_entropy(head, labels[batch])
        loss.backward()
        optimizer.step()

    return step, params


def main() -> None:
    settings = json.loads(sys.argv[1])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.monotonic()
    torch.backends.cudnn.benchmark = True
    step, params = make_step(settings, device)

    def run(first: int, count: int) -> None:
        for i in range(first, first + count):
            step(i)
        if device == "cuda":
            torch.cuda.synchronize()

    run(0, 2 if device == "cpu" else 2 * CHUNK)  # compiles, and finds the fastest convolutions
    started, steps = time.monotonic(), 0
    chunk = 1 if device == "cpu" else CHUNK
    while time.monotonic() < started + settings["seconds"]:
        run(steps, chunk)
        steps += chunk
    seconds = time.monotonic() - started
    found = {
        "images_per_second": steps * settings["batch"] / seconds,
        "steps_per_second": steps / seconds,
        "start_seconds": started - began,
        "params": params,
        "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "versions": {"torch": torch.__version__, "torch_python": platform.python_version()},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
