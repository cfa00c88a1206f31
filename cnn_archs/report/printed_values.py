"""Find the papers' printed values for the networks of a report, in experiments/claims.toml.

`claims/verdicts.py` decides which claims hold, and accepts only results of the whole recipe. A
report shows a printed value beside whatever was run, and lists how the recipe differs.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs import config as configs
from cnn_archs import config_files
from cnn_archs.config_keys import flatten
from cnn_archs.errors import DataError, first_line
from cnn_archs.knobs import read_text
from cnn_archs.report.runs import CellRecord, format_setting
from cnn_archs.roles import changes_outcome

CLAIMS_FILE = config_files.EXPERIMENTS / "claims.toml"
# Keys of a model that a reduced run may change; any other key makes it another network.
REDUCED_KEYS = ("model.width", "model.num_classes")


class PrintedValue(NamedTuple):
    """A printed value of a metric, for one cell, or for the difference of two cells.

    says: the statement as a sentence. source: paper and place. value: errors as fractions; None if
    the paper only says that the first cell's is higher. changed: settings that differ from the
    paper's recipe.
    """

    says: str
    source: str
    metric: str
    value: float | None
    bound: str
    cells: tuple[CellRecord, ...]
    changed: tuple[str, ...]


def read_claims_file(path: Path = CLAIMS_FILE) -> dict[str, Any]:
    """Parse the file without validating it. Raises DataError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as e:
        raise DataError(f"{path}: {first_line(e)}") from e


def find_printed_values(
    cells: Sequence[CellRecord], stated: Mapping[str, Any]
) -> Iterator[PrintedValue]:
    """Yield the claims about errors whose networks are among `cells`, in the order of the file."""
    for claim in stated["claim"]:
        roles = ("ours",) if "ours" in claim else ("higher", "lower")
        if not all(role in claim for role in roles):
            continue
        found = [nearest_cell(claim[role], claim["protocol"], cells) for role in roles]
        if not all(found):
            continue
        changed = dict.fromkeys(
            key
            for role, cell in zip(roles, found, strict=True)
            for key in (changed_settings(claim[role], cell) if cell else [])
        )
        source = f"{short_reference(stated['papers'][claim['paper']])}, {claim['source']}"
        values = claim["value"] if isinstance(claim["value"], list) else [claim["value"]]
        metrics = claim["metric"] if isinstance(claim["metric"], list) else [claim["metric"]]
        for metric, value in zip(metrics, values, strict=True):
            number = None if isinstance(value, str) else value * unit_scale(claim)
            bound = claim.get("bound", "")
            cells_of = tuple(c for c in found if c)
            yield PrintedValue(
                claim["says"], source, metric, number, bound, cells_of, tuple(changed)
            )


def unit_scale(claim: Mapping[str, Any]) -> float:
    """Return the factor from the printed unit to a fraction."""
    return 0.01 if claim.get("unit") == "%" else 1.0


def short_reference(paper: str) -> str:
    """Shorten a reference to authors and year: `He, Zhang, Ren & Sun 2015`."""
    match = re.match(r".*?\b\d{4}\b", paper)
    return match[0] if match else paper


def nearest_cell(
    source: Mapping[str, str], protocol: str, cells: Sequence[CellRecord]
) -> CellRecord | None:
    """Return the finished cell whose recipe differs least from the claim's, or None."""
    fitting = [
        (len(changed_settings(source, cell)), i)
        for i, cell in enumerate(cells)
        if cell.first("protocol") == protocol and is_same_network(source, cell)
    ]
    return cells[min(fitting)[1]] if fitting else None


def is_same_network(source: Mapping[str, str], cell: CellRecord) -> bool:
    """Return whether a cell has the network that the claim names, under any recipe."""
    if not cell.experiment or "row" in source:
        return any(run.path.match(source["result"]) for run in cell.runs)
    name, overrides = experiment_and_overrides(source)
    other = [o for o in changed_settings(source, cell) if o.partition("=")[0].startswith("model.")]
    kept = all(o in cell.overrides if not cell.config else holds(o, cell) for o in overrides)
    return (
        cell.experiment == name and kept and all(o.partition("=")[0] in REDUCED_KEYS for o in other)
    )


def experiment_and_overrides(source: Mapping[str, str]) -> tuple[str, set[str]]:
    """Split `alexnet_imagenet --config.model.lrn=false` into the experiment and its overrides."""
    name, *overrides = source["experiment"].split()
    return name, {o.removeprefix("--config.") for o in overrides}


def changed_settings(source: Mapping[str, str], cell: CellRecord) -> list[str]:
    """List the settings, as `key=value`, in which a cell's recipe differs from the claim's.

    A result that does not record its experiment is compared by its config.
    """
    if "row" in source:
        return []
    name, overrides = experiment_and_overrides(source)
    if not cell.config:
        return [o for o in cell.changed if o not in overrides]
    if cell.recipe:
        named = {o.partition("=")[0] for o in overrides if holds(o, cell)}
        return [o for o in cell.changed if o.partition("=")[0] not in named]
    keys = {o.partition("=")[0] for o in overrides}
    expected = stated_config(name)
    return [
        f"{key}={format_setting(value)}"
        for key, value in flatten(cell.config).items()
        if key in expected
        and value != expected[key]
        and key not in keys
        and changes_outcome(key, cell.config)
    ]


def holds(override: str, cell: CellRecord) -> bool:
    """Return whether the config of a cell has the value of an override `key=value`."""
    key, _, text = override.partition("=")
    value = flatten(cell.config).get(key)
    try:
        stated = read_text(text, type(value))
    except ValueError:
        return False
    return value == (list(stated) if isinstance(stated, tuple) else stated)


@functools.cache
def stated_config(experiment: str) -> dict[str, Any]:
    """Return {section.key: value} of the keys that an experiment sets.

    Fields of the model are included only if they are not the defaults.
    """
    config, _ = configs.load_file(experiment)
    return flatten(configs.to_plain_dict(config))
