"""Write the card of a file of trained weights: what made them, and their error as stored.

The error is measured by the file itself, in the way in which everybody else reads it.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_archs import config as configs
from cnn_archs.conversion.stored import SUFFIX, make_run
from cnn_archs.data.loading.pixel_statistics import read_statistics
from cnn_archs.data.record import read_record
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate.runs import evaluate_runs
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.files import file_sha256, write_json, write_text

# Keys of a result that a card repeats, and of what it was made by.
RESULT = ("dataset", "steps", "epochs", "seconds", "together", "params", "macs", "device")
MADE = ("command", "git_commit", "python", "packages", "processor", "cpus")


def check_card(workdir: Path) -> None:
    """Raise ConfigError if the weights of the run in `workdir` cannot have a card."""
    folder = RunDir(workdir)
    if not folder.has_result():
        raise ConfigError(f"--card: {workdir} is not trained to its end (no result.json)")
    recorded = read_record(folder)
    if not recorded or recorded.record.chosen:
        raise ConfigError(
            f"--card: {workdir} has no record of its images, or they are a share of one folder, "
            "whose list a card cannot hold"
        )


def write_card(output: Path, workdir: Path, dtype: str, data_dir: str) -> dict[str, Any]:
    """Write NAME.json and NAME.md beside `output`, the exported weights of the run in `workdir`.

    dtype: the type in which `output` holds them. data_dir: where the test images are; empty: where
    they were in training. Returns the card. See `check_card`.
    """
    card = describe(output, workdir, dtype)
    with tempfile.TemporaryDirectory(prefix="cnn-archs-") as folder:
        run = Path(folder) / output.stem
        make_run(output, card, run, called=str(output))
        stored = evaluate_runs([run], "single", "test", data_dir=data_dir)["test"]
    card["test"]["top1_error_as_stored"] = stored["top1_error"][0]
    write_json(output.with_suffix(".json"), card)
    write_text(output.with_suffix(".md"), markdown(card, output.stat().st_size))
    return card


def describe(output: Path, workdir: Path, dtype: str) -> dict[str, Any]:
    """Return the card of `output`, but for the error of what it holds."""
    folder = RunDir(workdir)
    result, recorded = folder.result(), read_record(folder)
    # `deterministic` has to be set before jax uses a GPU, which the reader's process may have done.
    config = {**configs.to_plain_dict(folder.config()), "seeds": 1, "deterministic": False}
    config["data"] = {**config["data"], "data_dir": ""}
    assert recorded
    found = read_statistics(folder.statistics) or {}
    test = {key: result["test"][key][0] for key in ("top1_error", "loss")}
    return {
        "name": output.stem,
        "network": result["name"],
        "dtype": dtype,
        "sha256": file_sha256(output),
        "seed": result["seeds"][0],
        **{key: result[key] for key in RESULT if key in result},
        "test": {"examples": result["test"]["examples"], **test},
        "made": {key: result["made"][key] for key in MADE if key in result.get("made", {})},
        "config": config,
        "data": {**dataclasses.asdict(recorded.record), "folder": ""},
        "statistics": {name: array.tolist() for name, array in found.items()},
    }


def markdown(card: Mapping[str, Any], size: int) -> str:
    """Format a card for a reader. size: that of the file, in bytes."""
    made, test, data = card["made"], card["test"], card["config"]["data"]
    packages = made.get("packages", {})
    versions = [f"Python {made.get('python', '?')}", *(f"{k} {v}" for k, v in packages.items())]
    together = card.get("together", 1)
    beside = f" for {together} seeds side by side" if together > 1 else ""
    device = f"{card.get('device', '?')} ({made.get('processor', '?')})"
    epochs = f" ({card['epochs']:g} epochs)" if "epochs" in card else ""
    rows = {
        "network": f"`{card['network']}`, {card['params']:,} parameters",
        "images": f"`{card['dataset']}`, batches of {data['batch_size']}",
        "command": f"`{' '.join(made.get('command', ['?']))}`",
        "seed": str(card["seed"]),
        "steps": f"{card['steps']:,}{epochs}",
        "seconds of training": f"{card['seconds']:,.0f}{beside}, on {device}",
        "commit": f"`{made.get('git_commit', '?')}`",
        "versions": ", ".join(versions),
        "test images": f"{test['examples']:,}",
        "test error as trained, float32": f"{100 * test['top1_error']:.2f} %",
        f"test error as stored, {card['dtype']}": f"{100 * test['top1_error_as_stored']:.2f} %",
        "file": f"`{card['name']}{SUFFIX}`, {size:,} bytes, SHA-256 `{card['sha256']}`",
    }
    lines = [f"# {card['name']}", "", "| | |", "| --- | --- |"]
    lines += [f"| {key} | {value} |" for key, value in rows.items()]
    lines += [
        "",
        f"    cnn-archs predict --weights={card['name']} IMAGE",
        f"    cnn-archs evaluate --weights={card['name']}",
        "",
        f"The complete config and the record of the images are in `{card['name']}.json`. The file",
        "has the names and the layout of tensors that `cnn-archs export` gives this network.",
    ]
    return "\n".join(lines) + "\n"
