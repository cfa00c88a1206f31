"""A folder as `sweep` leaves one, of numbers that are known: no network is trained for it."""

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

MADE: dict[str, Any] = {
    "command": ["launch.py", "sweep"],
    "python": "3.12.1",
    "packages": {"jax": "0.10.2", "flax": "0.12.8", "optax": "0.2.8"},
    "git_commit": "0123456789abcdef",
}
BLOCKS = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18}


def errors(test, train, seed, name):
    """Return {split: fraction} of the last step; the seeds of a network lie apart."""
    away = 0.001 * seed + 1e-4 * (sum(name.encode()) * seed % 7)
    return {"test": test + away, "train": train + away, "train_eval": train}


def write_json(path: Path, tree):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def lines_of(tree):
    return "".join(json.dumps(line) + "\n" for line in tree)


def workdir(
    folder: Path, name, seed, test, train, steps=1500, holdout=0, depth=20, data=None, **parts
):
    """A finished run. data: keys of data in its config. parts: further keys of its result."""
    data = data or {}
    last = errors(test, train, seed, name)

    def split(value):
        values = {"top1_error": [value], "top5_error": [value / 10], "loss": [2 * value]}
        return {**values, "examples": 1000}

    blocks = [BLOCKS.get(depth, 3)] * 3
    write_json(
        folder / "config.json",
        {
            "model": {"name": name, "kind": "basic", "blocks": blocks},
            "data": {"name": "cifar10", "holdout": holdout} | data,
            **dict(seed=seed, seeds=1, steps=steps),
            "warmup": {"name": "error" if depth == 110 else "none"},
        },
    )
    write_json(folder / "environment.json", MADE)
    result = {
        **dict(name=name, dataset="cifar10", protocol="single", seeds=[seed]),
        **{key: split(value) for key, value in last.items()},
        **dict(steps=steps, epochs=steps / 100, seconds=60.0 + seed, images_per_second=200.0),
        **dict(params=10_000 * depth, macs=1_000_000 * depth, device="1 x cpu"),
    }
    write_json(folder / "result.json", {**result, **parts})
    (folder / "metrics.jsonl").write_text(lines_of(log(last, seed, steps, holdout, depth)))
    return folder


def log(last, seed, steps, holdout, depth=20):
    """Lines that come down to the last errors; the held-out error is least at half the way."""
    for step in range(100, steps + 1, 100):
        left = math.exp(-6 * step / steps) - math.exp(-6)
        common = dict(step=step, seed=seed, epoch=step / 100, loss=1.0, examples=1000)
        rate = 0.01 if depth == 110 and step < 400 else 0.1
        train = last["train"] + 0.6 * left
        yield dict(common, split="train", top1_error=train, learning_rate=rate)
        if step % 500 == 0 or step == steps:
            if holdout:
                held = 0.3 + abs(step - steps / 2) / steps
                yield dict(common, split="val", top1_error=held)
            yield dict(common, split="test", top1_error=last["test"] + 0.5 * left)


def diagnostics(folder: Path, seed, layers, scale, steps=1500):
    """Layer i of n: response_sd is scale / (i + 1), the gradient's norm 10 times less."""
    lines = [
        {
            **dict(step=step, epoch=step / 100, seed=seed),
            "layers": [
                {
                    "name": f"layer{i}",
                    "gradient_norm": scale / (i + 1) / (10 if step else 1),
                    **({"response_sd": scale / (i + 1)} if i < layers - 1 else {}),
                }
                for i in range(layers)
            ],
        }
        for step in (0, steps)
    ]
    (folder / "diagnostics.jsonl").write_text(lines_of(lines))


def robustness(folder: Path, slope):
    kinds = {"shift": "pixels", "rotate": "degrees", "scale": "parts", "shear": "parts"}
    amounts = [0, 1, 2, 4]
    write_json(
        folder / "robustness.json",
        {
            kind: {
                **dict(unit=unit, amounts=amounts),
                "top1_error": [[0.01 + slope * a] for a in amounts],
            }
            for kind, unit in kinds.items()
        },
    )


TEST = {"plain20": 0.10, "plain56": 0.14, "resnet20": 0.09, "resnet56": 0.07}
TRAIN = {"plain20": 0.05, "plain56": 0.11, "resnet20": 0.04, "resnet56": 0.01}


def degradation(
    folder: Path, seeds=2, depths=(20, 56), holdout=0, missing=True, inside=True
) -> Path:
    """Plain and residual nets: errors of TEST and TRAIN, or, of other depths, in between.

    With `inside`, there are diagnostics, robustness and filters. With `missing`, the last seed of
    plain56 failed, and resnet56's stands at step 700 of 1500.
    """
    names = [f"{kind}{depth}" for kind in ("plain", "resnet") for depth in depths]
    experiments = {n: f"resnet_cifar10:{n.removeprefix('resnet')}" for n in names}
    said = ("{0}56 trains worse than {0}20", "{0}20 tests worse than {0}56")
    write_json(
        folder / "sweep.json",
        dict(
            title="Plain and residual nets on CIFAR-10",
            notes="1,500 steps instead of 64,000, half the width <of each layer>.",
            seeds=seeds,
            cells={n: [experiments[n], "log_every=100"] for n in names},
            overrides=["steps=1500"],
            comparisons=[
                compared(said[0].format("plain"), "plain56", "plain20", "train.top1_error"),
                compared(said[1].format("resnet"), "resnet20", "resnet56", "test.top1_error"),
                compared("plain20 beats resnet20", "resnet20", "plain20", "test.top1_error"),
            ],
            x="depth",
            groups={
                "plain": [n for n in names if n.startswith("plain")],
                "residual": [n for n in names if n.startswith("resnet")],
            },
            after=["robustness"],
            file="degradation:quick",
        ),
    )
    for name in names:
        depth = int(name.removeprefix("plain").removeprefix("resnet"))
        slope = (depth - 20) / 36
        kind = name.removesuffix(str(depth))
        test, train = (
            e[f"{kind}20"] + slope * (e[f"{kind}56"] - e[f"{kind}20"]) for e in (TEST, TRAIN)
        )
        for seed in range(seeds):
            run = folder / name / f"seed{seed}"
            workdir(
                run, name, seed, max(test, 0.06), max(train, 0.001), holdout=holdout, depth=depth
            )
            if not inside:
                continue
            diagnostics(run, seed, depth, 2.0 if kind == "plain" else 1.0)
            robustness(run, 0.05 if kind == "plain" else 0.03)
            (run / "figures").mkdir()
            Image.new("RGB", (40, 20), (90, 120, 160)).save(run / "figures" / "filters.png")
    if missing:
        spoil(folder, seeds - 1)
    return folder


def compared(says, higher, lower, metric):
    return dict(says=says, higher=higher, lower=lower, metric=metric)


def spoil(folder: Path, seed):
    failed = folder / "plain56" / f"seed{seed}"
    (failed / "result.json").unlink()
    write_json(failed / "failed.json", {"error": "the loss is not finite", "code": 4, "tries": 2})
    stopped = folder / "resnet56" / f"seed{seed}"
    (stopped / "result.json").unlink()
    lines = (stopped / "metrics.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["step"] <= 700]
    (stopped / "metrics.jsonl").write_text("\n".join(kept) + '\n{"step": 80')


class Page(HTMLParser):
    """Read the text of a page: tables as {head: [cells]}, the rest by tag."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.texts, self.tags, self.open = [], [], [], []
        self.scripts: list[str] = []
        self.marked: list[list[str]] = []  # rows with a mark, by the cells before it
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append("badge" if dict(attributes).get("class") == "badge" else tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "small" and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += "\n"

    def handle_endtag(self, tag):
        if "badge" in self.open and tag == "span":
            self.open.pop()
            return
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, text):
        if "badge" in self.open:
            self.tables[-1][-1][-1] = self.tables[-1][-1][-1].rstrip()
            self.marked.append([*self.tables[-1][-1], text])
        elif {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += text
        elif "script" in self.open:
            self.scripts.append(text)
        elif text.strip() and "style" not in self.open:
            self.texts.append(text.strip())

    @property
    def text(self):
        return "\n".join(self.texts)

    def table(self, *heads):
        """{first cell of a row: {head: cell}} of the tables that have these heads, in order."""
        found: dict[str, dict[str, str]] = {}
        for first, *rows in self.tables:
            if set(heads) <= set(first):
                found |= {row[0]: dict(zip(first, row, strict=True)) for row in rows}
        assert found, f"no table with {heads}"
        return found
