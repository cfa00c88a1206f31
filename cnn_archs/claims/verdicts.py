"""Decide for each statement of the papers (`schema.py`) whether it holds.

What a claim with a `check` states is computed (`checks/`). The other claims are about errors, whose
values are read from results/ (`evidence.py`). The statuses are:

    exact       the computed value equals the printed one, to the precision that the claim states
    function    what a network or an optimizer computes on random numbers equals the paper's formula
    setting     the experiment's file states the printed value; nothing more is computed
    counted     the computed value equals one that is not printed, but follows from what is
    reproduced  the mean of three or more networks, or the value of a method that draws no random
                numbers, is within the tolerance, or within the bound; or one network's error is
                above another's by Welch's test at 5 %, and by as much as is printed
    missed      neither is true; `missed_by` says by how much
    seen, shorter
                there is no result of the full length that counts, but one of two networks' errors
                was tested at the shorter length that the claim states, by the same test, with as
                many networks: `sign` says if it was as stated, contrary, or open
    not run     there is no result that counts; `needs` says what a run would take

A `disputed` claim cannot hold as printed, mostly because the paper's own numbers contradict it. It
is computed like the others, but missing it is no failure.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_archs.claims import evidence
from cnn_archs.claims.checks import CHECKS, FUNCTIONS, SETTINGS
from cnn_archs.claims.schema import Claim, Claims
from cnn_archs.errors import DataError, UserError, first_line
from cnn_archs.report.statistics import (
    LEVEL,
    difference_interval,
    standard_deviation,
    welch_test,
)
from cnn_archs.shipped import shipped_folder

RESULTS = shipped_folder("results")
COMPUTED = ("exact", "function", "setting", "counted")  # statuses of computed claims that hold
SEEN = "seen, shorter"
STATUSES = (*COMPUTED, "reproduced", "missed", SEEN, "not run")
UNIT_FACTORS = {"thousand": 1e3, "K": 1024.0, "million": 1e6, "billion": 1e9, "%": 0.01}


def evaluate_claims(claims: Claims, results: Path = RESULTS) -> list[dict[str, Any]]:
    """Return each claim with its status and what was found, for `claims --format=json`.

    All result files are read before anything is computed, which takes a minute: a damaged one is
    refused at once. Raises DataError for it.
    """
    evidence.check_files(results)
    in_order = sorted(claims.claims, key=lambda claim: bool(claim.check))
    found = {c.id: evaluate_claim(c, claims.needs, results) for c in in_order}
    return [found[c.id] for c in claims.claims]


def evaluate_claim(claim: Claim, needs: Mapping[str, str], results: Path) -> dict[str, Any]:
    """Return the fields of one claim, {id, paper, source, says, value, ...}, and its verdict.

    The verdict consists of the status and of what was found.
    """
    stated = {k: v for k, v in dataclasses.asdict(claim).items() if v or k == "value"}
    if claim.check:
        return {**stated, **evaluate_computed(claim)}
    try:
        if not claim.ours and not claim.higher:
            raise evidence.Refused("")
        return {**stated, **evaluate_measured(claim, results)}
    except evidence.Refused as e:
        why = [f"needs {needs[claim.needs]}" if claim.needs else "", str(e)]
    seen: dict[str, Any] = {"status": "not run"}
    if claim.shorter:
        try:
            seen = evaluate_shorter(claim, results)
        except evidence.Refused as e:
            why.append(f"at a shorter length: {e}")
    return {**stated, **seen, "reason": "; ".join(filter(None, why))}


def evaluate_computed(claim: Claim) -> dict[str, Any]:
    """Return the status and the finding of a claim that is computed.

    Raises DataError if its check does not accept its arguments.
    """
    try:
        found = in_unit(CHECKS[claim.check](**claim.arguments), claim.unit)
    except (ValueError, KeyError, TypeError, UserError) as e:
        raise DataError(f"claim {claim.id}: {first_line(e)}") from e
    met = agrees(found, claim.value, claim.within)
    return {"status": status_if_met(claim) if met else "missed", "found": found}


def status_if_met(claim: Claim) -> str:
    """Return the status of a computed claim that holds."""
    if claim.check in FUNCTIONS:
        return "function"
    if claim.check in SETTINGS:
        return "setting"
    return "counted" if claim.counted else "exact"


def in_unit(found: Any, unit: str) -> Any:
    """Divide `found` by its unit, if the unit is a number such as `million`."""
    if isinstance(found, list):
        return [in_unit(f, unit) for f in found]
    return found / UNIT_FACTORS[unit] if unit in UNIT_FACTORS else found


def agrees(found: Any, value: Any, within: float) -> bool:
    """Return whether a finding equals the printed value.

    Whole numbers must be equal, other numbers to a millionth; both may differ by `within`.
    """
    if isinstance(found, list) and isinstance(value, list):
        if len(found) != len(value):
            return False
        return all(agrees(f, v, within) for f, v in zip(found, value, strict=True))
    if not all(type(x) in (int, float) for x in (found, value)):
        return type(found) is type(value) and found == value
    whole = isinstance(found, int) and isinstance(value, int)
    return abs(found - value) <= within + (0.0 if whole else 1e-6 * abs(value))


def evaluate_measured(claim: Claim, results: Path) -> dict[str, Any]:
    """Return the status and the finding of a claim about errors.

    Raises evidence.Refused if no result counts.
    """

    def read(source: Mapping[str, str], metric: str) -> list[float]:
        found = evidence.values_of_seeds(source, metric, claim.protocol, results)
        return [in_unit(v, claim.unit) for v in found.values()]

    several = isinstance(claim.metric, list)
    pairs = (
        zip(claim.metric, claim.value, strict=True) if several else [(claim.metric, claim.value)]
    )
    parts = []
    for metric, value in pairs:
        if claim.ours:
            parts.append(
                compare_mean(read(claim.ours, metric), value, claim.tolerance, claim.bound)
            )
        else:
            high, low = read(claim.higher, metric), read(claim.lower, metric)
            parts.append(compare_means(high, low, value, claim.tolerance))
    missed = [p for p in parts if p["status"] == "missed"]
    merged = {k: [p[k] for p in parts] if several else parts[0][k] for k in parts[0]}
    return {**merged, "status": "missed" if missed else "reproduced"}


def evaluate_shorter(claim: Claim, results: Path) -> dict[str, Any]:
    """Return the status and the finding of a claim that is tested at the shorter length it states.

    found: the difference of the means, with its 95 % interval from `low` to `high`. p: of the
    claim's test. sign: `as stated` or `contrary`, if the test in that direction tells the networks
    apart, else `open`. Raises evidence.Refused if no result counts, and DataError if what the claim
    calls its shorter form differs in more than its length.
    """
    sides, lengths = [], set()
    for role, source in (("higher", claim.higher), ("lower", claim.lower)):
        shorter = f"{source['experiment']} {claim.shorter['length']}"
        try:
            lengths.add(evidence.shorter_length(source["experiment"], shorter))
        except (ValueError, UserError) as e:
            raise DataError(f"claim {claim.id}: {first_line(e)}") from e
        made = {"experiment": shorter, "result": claim.shorter[role]}
        values = evidence.values_of_seeds(made, claim.metric, claim.protocol, results)
        sides.append({seed: in_unit(value, claim.unit) for seed, value in values.items()})
    high, low = sides
    interval = difference_interval(high, low)
    p, opposite = (
        welch_test(list(a.values()), list(b.values())).p for a, b in ((high, low), (low, high))
    )
    sign = "as stated" if p < LEVEL else "contrary" if opposite < LEVEL else "open"
    return {
        "status": SEEN,
        "length": " and ".join(sorted(lengths)),
        "sign": sign,
        "found": interval.difference,
        **{"low": interval.low, "high": interval.high, "interval": interval.kind},
        "p": p,
        "seeds": list(interval.seeds),
    }


def compare_mean(sample: Sequence[float], value: float, tolerance: float, bound: str) -> dict:
    """Compare a mean, or the only value, with a printed value.

    If the claim is missed, `missed_by` is the mean minus that value.
    """
    mean = statistics.fmean(sample)
    away = mean - value
    beyond = {"at most": away, "at least": -away, "": abs(away) - tolerance}[bound]
    met = beyond <= 1e-9  # percentage points, for the rounding of sums
    found = {"found": mean}
    if len(sample) > 1:  # a method without random numbers has one value
        found |= {"sd": standard_deviation(sample), "seeds": len(sample)}
    return {"status": "reproduced" if met else "missed", **found, "missed_by": 0.0 if met else away}


def compare_means(
    high: Sequence[float], low: Sequence[float], value: Any, tolerance: float
) -> dict:
    """Compare a difference of means with 0, by Welch's test, and with the printed one if any.

    If the claim is missed, `missed_by` is the difference minus the printed one, or minus 0.
    """
    test = welch_test(high, low)
    away = test.difference - (0.0 if value == "higher" else value)
    as_printed = value == "higher" or abs(away) <= tolerance + 1e-9
    met = test.difference > 0 and test.p < LEVEL and as_printed
    found = {"found": test.difference, "p": test.p, "seeds": [len(high), len(low)]}
    return {"status": "reproduced" if met else "missed", **found, "missed_by": 0.0 if met else away}


def failed_claims(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the ids of computed claims that are missed, and of disputed claims that are met."""
    return [
        f["id"] for f in found if f.get("check") and (f["status"] in COMPUTED) == ("disputed" in f)
    ]
