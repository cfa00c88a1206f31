"""What the papers print of the networks that a report is of: experiments/claims.toml, as a file.

Which claims hold is decided in `claims/verdicts.py`, by results of the whole recipe alone. Here a
printed value is set beside whatever was run, and what differs from the recipe is said.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs import config as configs
from cnn_archs.errors import DataError, first_line
from cnn_archs.report.runs import Cell
from cnn_archs.roles import changes_outcome

FILE = configs.EXPERIMENTS / "claims.toml"
REDUCED = ("model.width", "model.num_classes")  # other keys of a model make it another network


class Printed(NamedTuple):
    """A value of a paper for `metric`, a fraction if it is an error; or, in `higher`, that the
    first of two cells is above the second, by `value` where it is a number.

    says: a sentence; source: paper and place; changed: how the cells' recipes are not the paper's.
    """

    says: str
    source: str
    metric: str
    value: float | None
    bound: str
    cells: tuple[Cell, ...]
    changed: tuple[str, ...]


def load(path: Path = FILE) -> dict[str, Any]:
    """The file as it is: {papers, claim, ...}."""
    try:
        return tomllib.loads(path.read_text())
    except (ValueError, OSError) as e:
        raise DataError(f"{path}: {first_line(e)}") from e


def printed(cells: Sequence[Cell], stated: Mapping[str, Any]) -> Iterator[Printed]:
    """The claims of errors whose networks are among `cells`, in the order of the file."""
    for claim in stated["claim"]:
        roles = ("ours",) if "ours" in claim else ("higher", "lower")
        if not all(role in claim for role in roles):
            continue
        found = [best(claim[role], claim["protocol"], cells) for role in roles]
        if not all(found):
            continue
        changed = dict.fromkeys(
            key
            for role, cell in zip(roles, found, strict=True)
            for key in (differing(claim[role], cell) if cell else [])
        )
        source = f"{short(stated['papers'][claim['paper']])}, {claim['source']}"
        values = claim["value"] if isinstance(claim["value"], list) else [claim["value"]]
        metrics = claim["metric"] if isinstance(claim["metric"], list) else [claim["metric"]]
        for metric, value in zip(metrics, values, strict=True):
            number = None if isinstance(value, str) else value * scale(claim)
            bound = claim.get("bound", "")
            cells_of = tuple(c for c in found if c)
            yield Printed(claim["says"], source, metric, number, bound, cells_of, tuple(changed))


def scale(claim: Mapping[str, Any]) -> float:
    return 0.01 if claim.get("unit") == "%" else 1.0


def short(paper: str) -> str:
    """`He, Zhang, Ren & Sun 2015` of its full reference."""
    match = re.match(r".*?\b\d{4}\b", paper)
    return match[0] if match else paper


def best(source: Mapping[str, str], protocol: str, cells: Sequence[Cell]) -> Cell | None:
    """The finished cell that is nearest to the recipe that a claim names; None if there is none."""
    fitting = [
        (len(differing(source, cell)), i)
        for i, cell in enumerate(cells)
        if cell.first("protocol") == protocol and is_of(source, cell)
    ]
    return cells[min(fitting)[1]] if fitting else None


def is_of(source: Mapping[str, str], cell: Cell) -> bool:
    """Is it the network that the claim names, whatever its recipe?"""
    if not cell.experiment:
        return any(run.path.match(source["result"]) for run in cell.runs)
    name, overrides = named(source)
    other = [o for o in differing(source, cell) if o.partition("=")[0].startswith("model.")]
    kept = overrides <= set(cell.overrides)
    return cell.experiment == name and kept and all(o.partition("=")[0] in REDUCED for o in other)


def named(source: Mapping[str, str]) -> tuple[str, set[str]]:
    """(experiment, overrides) of `alexnet_imagenet --config.model.lrn=false`."""
    name, *overrides = source["experiment"].split()
    return name, {o.removeprefix("--config.") for o in overrides}


def differing(source: Mapping[str, str], cell: Cell) -> list[str]:
    """How a cell's recipe is another than the claim's: `key=value` of what was overridden.

    Of a result that does not say from which experiment it is, the config is compared.
    """
    name, overrides = named(source)
    if cell.experiment or not cell.config:
        return [o for o in cell.changed if o not in overrides]
    keys = {o.partition("=")[0] for o in overrides}
    expected = stated_config(name)
    return [
        f"{key}={value}"
        for key, value in configs.flatten(cell.config).items()
        if key in expected
        and value != expected[key]
        and key not in keys
        and changes_outcome(key, cell.config)
    ]


@functools.cache
def stated_config(experiment: str) -> dict[str, Any]:
    """{section.key: value} that an experiment states; of a model only what is no default."""
    path, argument = configs.locate_file(experiment)
    config = configs.call_entry(configs.execute_file(path), argument)
    return configs.flatten(configs.to_plain_dict(config))
