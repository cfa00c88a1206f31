"""Pictures of runs, from the files that they left."""

import json
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

# Split -> (label, line style): dashed for training, bold for testing, as in the ResNet paper.
SPLITS = {
    "train": ("train", "--"),
    "val": ("held out", ":"),
    "val_average": ("held out, averaged weights", (0, (1, 3))),
    "test": ("test", "-"),
    "test_average": ("test, averaged weights", "-."),
}


def curves(workdir: Path) -> Path:
    """curves.png: error and loss by epoch, one line a split and seed, of metrics.jsonl."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    series: dict[tuple[str, int], list[dict]] = defaultdict(list)
    for line in lines:
        series[line["split"], line["seed"]].append(line)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    colours = {seed: f"C{i % 10}" for i, seed in enumerate(sorted({s for _, s in series}))}
    for (split, seed), points in sorted(series.items(), key=lambda kv: (kv[0][1], kv[0][0])):
        label, style = SPLITS[split]
        epochs = [p["epoch"] for p in points]
        for axis, key, factor in ((axes[0], "top1_error", 100), (axes[1], "loss", 1)):
            axis.plot(
                epochs,
                [factor * p[key] or float("nan") for p in points],  # no 0 on a log axis
                linestyle=style,
                color=colours[seed],
                linewidth=0.8 if split == "train" else 1.8,
                alpha=0.5 if split == "train" else 1.0,
                label=label if seed == min(colours) else None,
            )
    result = json.loads((workdir / "result.json").read_text())
    for axis, what in zip(axes, ("error, %", "loss"), strict=True):
        axis.set(xlabel="epoch", ylabel=what, yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3, which="both")
        axis.legend()
    seeds = len(colours)
    title = f"{result['name']} on {result['dataset']}"
    figure.suptitle(f"{title}, {seeds} seed{'s' if seeds > 1 else ''}")
    path = workdir / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
