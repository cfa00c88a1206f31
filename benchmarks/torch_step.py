"""PyTorch's side of `train_step.py`: the shortest good loop over the same images in the same order.

`sides.Side` runs `python torch_step.py FOLDER SETTINGS`, with the FOLDER that `our_step.py` has
written. SETTINGS is a JSON object with network, threads, compile, auxiliary, and `sgd`, the
arguments of torch.optim.SGD. Maps are channels_last, no metrics are counted, and the networks have
their dropout.
"""

import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sides
import torch
import torch_networks
from torch.nn.functional import cross_entropy


def step_of(folder: Path, net: Any, auxiliary: float, sgd: dict[str, Any]) -> Callable[..., Any]:
    """Return step(batch), which trains on the images at the indices i64[B] -> main head's loss."""
    images = torch.from_numpy(np.load(folder / "images.npy"))  # u8[N, H, W, C], as ours are
    labels = torch.from_numpy(np.load(folder / "labels.npy")).long()
    optimizer = torch.optim.SGD(net.parameters(), **sgd)

    def step(batch: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        pixels = images[batch].permute(0, 3, 1, 2)  # channels_last by its strides
        heads = net(pixels.float().mul_(2 / 255).sub_(1))
        loss = cross_entropy(heads.pop("logits"), labels[batch])
        total = loss
        for head in heads.values():
            total = total + auxiliary * cross_entropy(head, labels[batch])
        total.backward()
        optimizer.step()
        return loss.detach()

    return step


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)  # for dropout
    net = torch_networks.NETWORKS[settings["network"]]()
    weights = np.load(folder / "weights.npz")
    net.load_state_dict({name: torch.from_numpy(weights[name].copy()) for name in weights})
    params = sum(p.numel() for p in net.parameters())
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(net) if settings["compile"] else net
    step = step_of(folder, forward, settings["auxiliary"], settings["sgd"])
    index = torch.from_numpy(np.load(folder / "index.npy")).long()
    at = 0

    def train(steps: int) -> float:
        nonlocal at
        losses = [step(index[i % len(index)]) for i in range(at, at + steps)]
        at += steps
        assert torch.stack(losses).isfinite().all()
        return losses[0].item()

    versions = {"torch": torch.__version__, "torch_python": platform.python_version()}
    sides.serve({"params": params, "versions": versions}, train)


if __name__ == "__main__":
    main()
