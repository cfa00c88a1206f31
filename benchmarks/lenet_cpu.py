"""LeNet-5 on a CPU: one epoch of the experiment `lenet5_mnist`, ours against PyTorch eager.

python benchmarks/lenet_cpu.py [--format=json] [--torch_python=PATH]
Expected: ratio (ours / torch, in time) at most 2.

Ours is `Run.advance`, as `train` calls it: order, gather, scaling, step, counts, check that all is
finite. PyTorch's is the shortest good loop: the same network, images (uint8, resident), batches
and SGD, its batches' indices made beforehand, and nothing counted. Both start from the same
weights and use the threads that they choose by themselves. The two take turns, epoch by epoch;
PyTorch has a process of its own, which sleeps on a pipe while we train, so that it may also live
in another environment (`--torch_python`). The images are MNIST's where it is prepared
($TFDS_DATA_DIR), else random: no time depends on what they show.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

# Each side imports its own framework: neither needs the other's.


class Turn(NamedTuple):
    """What some steps took, of the clock and of all cores; the mean loss of the first step."""

    seconds: float
    cpu_seconds: float
    first_loss: float


class Ours:
    """`lenet5_mnist` at step 0, one seed, on the first `images` training images."""

    def __init__(self, images: int):
        from cnn_archs import config
        from cnn_archs.data import sources
        from cnn_archs.train.assemble import assemble

        self.config = config.load("lenet5_mnist", ["seeds=1"])
        self.split, self.data = training_images(images)
        with mock.patch.object(sources, "load", lambda *_: self.split):
            self.run = assemble(self.config)

    def train(self, until: int) -> Turn:
        """The steps up to step `until`."""
        self.run.end_window()
        cpu, clock = time.process_time(), time.perf_counter()
        self.run.advance()
        first = self.run.counts("window")[0]["loss"]
        while self.run.step < until:
            self.run.advance()
        return Turn(time.perf_counter() - clock, time.process_time() - cpu, first)

    def torch_weights(self) -> dict[str, np.ndarray]:
        """The weights as they are now, in PyTorch's names and axes."""
        weights = {}
        for layer, params in self.run.states[0].params.items():
            kernel = np.asarray(params["kernel"])
            axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)  # HWIO -> OIHW, IO -> OI
            weights[f"{layer}.weight"] = kernel.transpose(axes)
            weights[f"{layer}.bias"] = np.asarray(params["bias"])
        return weights


def training_images(count: int) -> tuple[Any, str]:
    """The first `count` training images of MNIST, or random ones, and which of the two."""
    from cnn_archs.data import sources
    from cnn_archs.errors import DataError

    try:
        return sources.load("mnist", "train").take(np.arange(count)), "mnist"
    except DataError:
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        labels = random.integers(0, 10, count, dtype=np.int32)
        return sources.Split(images, labels, sources.DIGITS), "random"


class Torch:
    """`serve` in a process of `python`, for the training that `ours` is about to do."""

    def __init__(self, python: str, ours: Ours, steps: int, folder: Path):
        from cnn_archs.data import order

        run, c = ours.run, ours.config
        np.save(folder / "images.npy", ours.split.images)
        np.save(folder / "labels.npy", ours.split.labels)
        examples, seed = len(ours.split), run.seeds[0]
        np.save(folder / "index.npy", order.batches(examples, seed, 0, steps, run.batch_size))
        np.savez(folder / "weights.npz", **ours.torch_weights())
        settings = {
            "lr": c.schedule.learning_rate,
            "momentum": c.optimizer.momentum,
            "weight_decay": c.optimizer.weight_decay,
        }
        self.process = subprocess.Popen(
            [python, __file__, "--serve", str(folder), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hello = self.answer()

    def answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                "error: the PyTorch side ended; it needs torch and numpy: pip install '.[bench]', "
                "or name a Python that has them with --torch_python=PATH"
            )
        return json.loads(line)

    def train(self, until: int) -> Turn:
        """The steps up to step `until`."""
        print(until, file=self.process.stdin, flush=True)
        return Turn(*self.answer())


def serve(folder: Path, settings: dict[str, float]) -> None:
    """PyTorch's side: reads `until` from stdin, trains up to that step, answers with a Turn."""
    from collections import OrderedDict

    import torch
    from torch import nn

    net = nn.Sequential(
        OrderedDict(
            C1=nn.Conv2d(1, 6, 5, padding=2),
            tanh1=nn.Tanh(),
            S2=nn.AvgPool2d(2),
            C3=nn.Conv2d(6, 16, 5),
            tanh3=nn.Tanh(),
            S4=nn.AvgPool2d(2),
            C5=nn.Conv2d(16, 120, 5),
            tanh5=nn.Tanh(),
            flat=nn.Flatten(),
            F6=nn.Linear(120, 84),
            tanh6=nn.Tanh(),
            OUT7=nn.Linear(84, 10),
        )
    )
    weights = np.load(folder / "weights.npz")
    net.load_state_dict({name: torch.from_numpy(weights[name].copy()) for name in weights})
    images = torch.from_numpy(np.load(folder / "images.npy")).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(np.load(folder / "labels.npy")).long()
    index = torch.from_numpy(np.load(folder / "index.npy")).long()
    optimizer = torch.optim.SGD(net.parameters(), **settings)

    def step(batch: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        logits = net(images[batch].float().mul_(1 / 255))
        loss = nn.functional.cross_entropy(logits, labels[batch])
        loss.backward()
        optimizer.step()
        return loss.detach()

    hello = {
        "params": sum(p.numel() for p in net.parameters()),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(hello), flush=True)
    at = 0
    for line in sys.stdin:
        cpu, clock = time.process_time(), time.perf_counter()
        losses = [step(batch) for batch in index[at : int(line)]]
        turn = Turn(time.perf_counter() - clock, time.process_time() - cpu, losses[0].item())
        print(json.dumps(turn), flush=True)
        at = int(line)


def measure(python: str, images: int, epochs: int) -> dict[str, Any]:
    """One step of each, to compare their losses; the rest of an epoch to warm up; then `epochs`."""
    import jax

    from cnn_archs.environment import environment

    ours = Ours(images)
    ends = [1, *(ceil(e * ours.run.periods["epoch"]) for e in range(1, epochs + 2))]
    with tempfile.TemporaryDirectory() as folder:
        torch = Torch(python, ours, ends[-1], Path(folder))
        params = sum(leaf.size for leaf in jax.tree.leaves(ours.run.states[0].params))
        assert params == torch.hello["params"], (params, torch.hello["params"])
        turns = []
        for end in ends:
            turns.append((ours.train(end), torch.train(end)))
            print(
                f"to step {end:4}: ours {turns[-1][0].seconds:7.2f} s, "
                f"torch {turns[-1][1].seconds:7.2f} s",
                file=sys.stderr,
            )
        torch.process.stdin.close()
        torch.process.wait()
    timed = [{"ours": o._asdict(), "torch": t._asdict()} for o, t in turns[2:]]
    median = {
        side: {key: statistics.median(e[side][key] for e in timed) for key in Turn._fields}
        for side in ("ours", "torch")
    }
    cpu = {side: median[side]["cpu_seconds"] for side in median}
    made = environment()
    return {
        "ours": median["ours"]["seconds"],
        "torch": median["torch"]["seconds"],
        "ratio": median["ours"]["seconds"] / median["torch"]["seconds"],
        "cpu_seconds": {**cpu, "ratio": cpu["ours"] / cpu["torch"]},
        "first_loss_difference": abs(turns[0][0].first_loss - turns[0][1].first_loss),
        "params": params,
        "data": ours.data,
        "images": images,
        "machine": {
            "cpu": processor(),
            "cores": made["cpus"],
            "torch_threads": torch.hello["threads"],
            "load_average": os.getloadavg()[0],
            "platform": made["platform"],
        },
        "versions": {
            **made["packages"],
            "python": made["python"],
            "torch": torch.hello["torch"],
            "torch_python": torch.hello["python"],
            "git_commit": made["git_commit"],
        },
        "epochs": timed,
    }


def processor() -> str:
    """The name of the CPU, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(result: dict[str, Any]) -> str:
    """The result as a person reads it."""
    cpu, machine, versions = result["cpu_seconds"], result["machine"], result["versions"]
    return "\n".join(
        [
            f"one epoch of lenet5_mnist, {result['images']} images ({result['data']})",
            "                  ours    torch   ratio",
            f"seconds       {result['ours']:8.2f} {result['torch']:8.2f} {result['ratio']:7.2f}",
            f"CPU seconds   {cpu['ours']:8.2f} {cpu['torch']:8.2f} {cpu['ratio']:7.2f}",
            f"the first losses differ by {result['first_loss_difference']:.1e}",
            f"jax {versions['jax']}, torch {versions['torch']}; {machine['cores']} cores of "
            f"{machine['cpu']}, load {machine['load_average']:.1f}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch_python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of each")
    parser.add_argument("--images", type=int, default=60_000, help="training images")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve[0]), json.loads(arguments.serve[1]))
        return
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before jax is imported
    result = measure(arguments.torch_python, arguments.images, arguments.epochs)
    as_json = arguments.format == "json"
    print(table(result), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
