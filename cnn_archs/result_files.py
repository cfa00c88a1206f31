"""Read result files: a run's result.json, or a copy of one under another name."""

from pathlib import Path
from typing import Any

from cnn_archs.config_keys import rename_old_keys
from cnn_archs.errors import DataError
from cnn_archs.runtime.json_files import NUMBER, Shape, check_shape, read_json

SPLIT = {"top1_error": [NUMBER], "top5_error?": [NUMBER], "loss?": [NUMBER], "examples?": int}
CONFIG = {
    **{"seed?": int, "seeds?": int},
    "model": {"name": str, "blocks?": [int], "kind?": str, "column?": str},
    "data": {
        **{"name": str, "data_dir?": str, "image_shape?": [int]},
        **dict.fromkeys(("holdout?", "examples?", "downsample?", "batch_size?"), int),
    },
}
PART: Shape = {
    **dict.fromkeys(("git_commit?", "python?", "jax?", "jaxlib?", "backend?", "processor?"), str),
    **{"first_step?": int, "cpus?": (int, type(None))},
}
RECIPE: Shape = {"experiment": str, "changed": dict}
ENVIRONMENT: Shape = {
    **PART,
    "recipe?": RECIPE,
    "command?": [str],
    "packages?": {...: str},
    "devices?": [str],
}
ROW = {"method": str, "form": str, "knobs": dict, "examples": int, "network?": str}
MADE = {
    **ENVIRONMENT,
    "row?": ROW,
    "config?": CONFIG,
    "parts?": [PART],
    "by_seed?": [{**ENVIRONMENT, "parts?": [PART]}],
    "imported?": dict,
}
EVALUATION = {
    **dict.fromkeys(("name", "dataset", "protocol"), str),
    **{"test": dict, "seeds?": [int], "made?": MADE, "members?": [dict], "device?": str},
    **dict.fromkeys(("train?", "train_eval?", "val?", "challenge?"), dict),
    **dict.fromkeys(("steps?", "params?", "macs?", "views?"), int),
    **dict.fromkeys(("epochs?", "seconds?", "compile_seconds?", "images_per_second?"), NUMBER),
}
TRAINING = {
    **{key: shape for key, shape in EVALUATION.items() if key != "seeds?"},
    **{"seeds": [int], "steps": int, "seconds": NUMBER, "images_per_second": NUMBER},
    **{"params": int, "macs": int},
}


def read_result(path: Path, shape: Shape = EVALUATION) -> dict[str, Any]:
    """Read a result.json, or a copy of one under another name. Its config gets the present keys.

    Raises DataError if the file is damaged.
    """
    result = read_json(path, shape)
    count = len(result.get("seeds", [0]))  # an ensemble, or a method without chance
    if not count:
        raise DataError(f"{path} is damaged: it has no seeds")
    for split, columns in result.items():
        if isinstance(columns, dict) and (split == "test" or "top1_error" in columns):
            check_shape(path, columns, SPLIT, split)
            for metric, values in columns.items():
                if isinstance(values, list) and len(values) != count:
                    said = f"{split}.{metric} has {len(values)} values for {count} networks"
                    raise DataError(f"{path} is damaged: {said}")
    made = result.get("made", {})
    if "config" in made:
        made["config"] = rename_old_keys(made["config"])
    return result


def is_result(path: Path) -> bool:
    """Return whether `path` holds a result. Raises DataError if it is not a JSON object."""
    wanted = [key for key in EVALUATION if not key.endswith("?")]
    return path.is_file() and set(wanted) <= read_json(path).keys()


def list_results(folder: Path) -> list[Path]:
    """List the result files in the subfolders of `folder`."""
    return [path for path in sorted(folder.glob("*/*.json")) if is_result(path)]
