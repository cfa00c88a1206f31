"""Read and validate the papers' statements, `experiments/claims.toml`."""

import dataclasses
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.claims.checks import CHECKS, FUNCTIONS, SETTINGS
from cnn_archs.classical.rows import ROWS
from cnn_archs.errors import DataError, first_line
from cnn_archs.report.printed_values import CLAIMS_FILE, read_claims_file

SECTIONS = {"papers", "needs", "claim", "not_covered"}
SOURCES = ({"experiment", "result"}, {"row", "result"})  # and its file or files in results/
BOUNDS = ("at most", "at least")


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of a paper.

    value: as printed, in `unit`. differs: how notes and paper disagree, if they do. A computed
    claim has a `check` with `arguments`; what the check finds may differ from the value by
    `within`. counted: whether the value is not printed, but follows from what is. A claim about
    errors has a `metric` of a result under `protocol`, either of the network `ours`, or of `higher`
    minus `lower`. It may differ by `tolerance`, or `bound` is `at most` or `at least`. A list of
    metrics has a list of values. sweep: the sweep whose report would answer a claim that no result
    file decides. shorter: {length, higher, lower}, for a claim that one network's error is higher:
    overrides of both experiments that make them shorter, and the files in results/ of such runs.
    """

    id: str
    paper: str
    source: str
    says: str
    value: Any
    unit: str = ""
    differs: str = ""
    disputed: str = ""
    counted: bool = False
    check: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    within: float = 0.0
    metric: Any = ""
    protocol: str = ""
    tolerance: float = 0.0
    bound: str = ""
    ours: Mapping[str, str] = dataclasses.field(default_factory=dict)
    higher: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lower: Mapping[str, str] = dataclasses.field(default_factory=dict)
    needs: str = ""
    sweep: str = ""
    shorter: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Claims:
    """The content of the whole file.

    papers: {key: reference}. needs: {key: what a run would take}. not_covered: tables and figures
    without a claim, each {paper, source, reason}.
    """

    papers: Mapping[str, str]
    needs: Mapping[str, str]
    claims: Sequence[Claim]
    not_covered: Sequence[Mapping[str, str]]


COMMON = {"id", "paper", "source", "says", "value", "unit", "differs"}
COMPUTED = COMMON | {"check", "within", "disputed", "counted"}
SIDES = {"ours", "higher", "lower"}
MEASURED = COMMON | SIDES | {"metric", "protocol", "tolerance", "bound", "shorter"}
UNDECIDED = COMMON | {"needs", "sweep"}  # of a claim that no result file decides


def load_claims(path: Path = CLAIMS_FILE) -> Claims:
    """Read and validate the file. Raises DataError, naming the first fault."""
    tree = read_claims_file(path)
    try:
        require(not tree.keys() - SECTIONS, f"no section {', '.join(tree.keys() - SECTIONS)}")
        papers, needs = tree["papers"], tree["needs"]
        claims = [parse_claim(table, papers, needs) for table in tree["claim"]]
        twice = [id for id, n in Counter(c.id for c in claims).items() if n > 1]
        require(not twice, f"the id occurs twice: {', '.join(twice)}")
        for gap in tree["not_covered"]:
            require(gap.keys() == {"paper", "source", "reason"}, f"not_covered: {dict(gap)}")
            require(gap["paper"] in papers, f"not_covered: no paper {gap['paper']}")
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path}: {first_line(e)}") from e
    return Claims(papers, needs, claims, tree["not_covered"])


def require(condition: bool, otherwise: str) -> None:
    """Raise a ValueError with the message `otherwise` unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)


def parse_claim(
    table: dict[str, Any], papers: Mapping[str, str], needs: Mapping[str, str]
) -> Claim:
    """Make a Claim of a [[claim]] table.

    Raises ValueError, naming the claim, if the table is wrong.
    """
    where = f"claim {table.get('id', '?')}"
    missing = {"id", "paper", "source", "says", "value"} - table.keys()
    require(not missing, f"{where} has no {', '.join(sorted(missing))}")
    require(table["paper"] in papers, f"{where}: no paper {table['paper']}")
    if "check" not in table:
        unknown = table.keys() - MEASURED - UNDECIDED
        require(not unknown, f"{where}: no key {', '.join(sorted(unknown))}")
        check_measured_claim(table, needs, where)
        return Claim(**table)
    require(table["check"] in CHECKS, f"{where}: no check {table['check']}")
    arguments = {k: v for k, v in table.items() if k not in COMPUTED}
    try:
        inspect.signature(CHECKS[table["check"]]).bind(**arguments)
    except TypeError as e:
        raise ValueError(f"{where}: {table['check']}: {e}") from e
    of_its_own = table["check"] in FUNCTIONS or table["check"] in SETTINGS
    require(not (of_its_own and "counted" in table), f"{where}: {table['check']} counts nothing")
    stated = {k: v for k, v in table.items() if k in COMPUTED}
    return Claim(**stated, arguments=arguments)


def check_measured_claim(table: dict[str, Any], needs: Mapping[str, str], where: str) -> None:
    """Raise ValueError if a claim about errors lacks a key, or has keys that exclude each other."""
    require(table.get("needs", "") in ("", *needs), f"{where}: no need {table.get('needs')}")
    sources = SIDES & table.keys()
    require(bool(sources) or "needs" in table, f"{where}: it has no check, no result and no needs")
    if not sources:
        unknown = table.keys() - UNDECIDED
        require(not unknown, f"{where}: without a result it has no {', '.join(sorted(unknown))}")
        return
    require("sweep" not in table, f"{where}: it has a sweep and a result")
    require(
        sources in ({"ours"}, {"higher", "lower"}),
        f"{where}: it must have either ours, or higher and lower",
    )
    for key in sources:
        texts = all(isinstance(value, str) for value in table[key].values())
        named = texts and table[key].keys() in SOURCES
        require(named, f"{where}: {key} must have experiment or row, and result, each a string")
        row = table[key].get("row")
        require(row is None or row in ROWS, f"{where}: there is no row {row} of figure 9")
    if "shorter" in table:
        shorter = table["shorter"]
        texts = all(isinstance(value, str) for value in shorter.values())
        named = texts and shorter.keys() == {"length", "higher", "lower"}
        require(named, f"{where}: shorter has length, higher and lower")
        require(table["value"] == "higher", f"{where}: shorter is for a sign only")
    require("metric" in table and "protocol" in table, f"{where}: it needs metric and protocol")
    require(table.get("bound", "") in ("", *BOUNDS), f"{where}: no bound {table.get('bound')}")
    bounded = "bound" in table or table["value"] == "higher"
    require(bounded != ("tolerance" in table), f"{where}: it needs either a tolerance or a bound")
    require(
        isinstance(table["value"], list) == isinstance(table["metric"], list),
        f"{where}: it needs one value per metric",
    )
