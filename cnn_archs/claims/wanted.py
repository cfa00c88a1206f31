"""Find the runs that a statement waits for: their results are not in results/, or do not count."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cnn_archs.claims import evidence
from cnn_archs.claims.checks import recipes
from cnn_archs.claims.schema import Claim
from cnn_archs.classical.rows import ROWS


class WantedRun(NamedTuple):
    """A training, or a classical method, whose result a statement waits for.

    words: the experiment and its overrides, `key=value`, as a cell of a sweep states them; () for a
    method without a network. row: the method, a row of figure 9, if it is one. networks: how many
    are trained, each with a seed of its own. result: the file in results/ that a claim reads.
    protocol: the test that the file must have.
    """

    words: tuple[str, ...]
    row: str
    networks: int
    result: str
    protocol: str


def wanted_runs(claim: Claim, results: Path) -> list[WantedRun]:
    """List the runs that a claim about errors waits for; none if no run would decide it.

    A run is wanted unless its result is in the folder `results` and counts for all metrics of the
    claim. Raises DataError if a result file is damaged.
    """
    sources = [source for source in (claim.ours, claim.higher, claim.lower) if source]
    metrics = claim.metric if isinstance(claim.metric, list) else [claim.metric]
    wanted = []
    for source in sources:
        try:
            for metric in metrics:
                evidence.values_of_seeds(source, metric, claim.protocol, results)
        except evidence.Refused:
            wanted.append(run_of_source(source, claim.protocol))
    return wanted


def run_of_source(source: Mapping[str, str], protocol: str) -> WantedRun:
    """Return the run that makes the result which a claim names: {experiment or row, result}."""
    result, row = source["result"].replace("_seed*", "_seed0"), source.get("row", "")
    experiment = ROWS[row].network if row else source["experiment"]
    if not experiment:
        return WantedRun((), row, 1, result, protocol)
    networks = max(evidence.FEWEST_SEEDS, recipes.config(experiment).seeds)
    name, *flags = experiment.split()
    words = (name, *(flag.removeprefix("--config.") for flag in flags))
    return WantedRun(words, row, networks, result, protocol)
