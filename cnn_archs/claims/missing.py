"""List the runs that the papers' statements wait for, with their commands and device hours."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cnn_archs import config as configs
from cnn_archs.claims import verdicts
from cnn_archs.claims.schema import Claim, Claims
from cnn_archs.claims.verdict_text import format_printed
from cnn_archs.claims.wanted import WantedRun, wanted_runs
from cnn_archs.experiment import resolve
from cnn_archs.planning import devices, step_cost
from cnn_archs.planning.device_time import DeviceTime, device_time
from cnn_archs.result_files import list_results
from cnn_archs.sweeps import sweep_file

WAITING = ("not run", verdicts.SEEN)  # statuses of statements that a whole run would decide
Words = tuple[str, ...]  # an experiment and its overrides, key=value


class TimeKeeper:
    """Estimates the device time of trainings, each once. kind: a device type, as in `plan`.

    Raises ConfigError for an unknown kind.
    """

    def __init__(self, kind: str) -> None:
        self.kind, self.files = devices.find_device(kind), list_results(verdicts.RESULTS)
        self.time = cache(self.estimate)

    def estimate(self, words: Words, networks: int) -> DeviceTime | None:
        """Return the device time of an experiment with this many seeds.

        None if the cost of its step is not recorded, or is that of another batch: compiling all of
        them would take an hour.
        """
        name, *keys = words
        cost = step_cost.recorded_costs().get(step_cost.record_key(words))
        if not cost:
            return None
        experiment = resolve(configs.load_config(name, [*keys, f"seeds={networks}"]))
        if cost.batch != experiment.recipe.batch_size:
            return None
        return device_time(experiment, cost, self.kind, self.files)


def list_missing(stated: Claims, results: Path, keeper: TimeKeeper) -> dict[str, Any]:
    """Return the document of `claims --missing --format=json`.

    {kind, papers: [{paper, statements, runs, not_estimated, device_hours, estimated_by, command}],
    others}. A statement has id, source, says, printed, the `commands` that would decide it, the
    number of `trainings` among them, and device_hours, None if the time of one is not known. `runs`
    counts the trainings of a paper, each once; its device_hours are those of all but the
    `not_estimated`. `command` trains all of them but those of another sweep. others: {paper, id,
    source, says, reason} of statements that no run here would decide.
    """
    papers, others = [], []
    for paper in stated.papers:
        waiting = []
        for claim in stated.claims:
            if claim.paper == paper and not claim.check:
                verdict = verdicts.evaluate_claim(claim, stated.needs, results)
                if verdict["status"] in WAITING:
                    waiting.append((claim, verdict))
        runs = {claim.id: needed_runs(claim, results) for claim, _ in waiting}
        statements = [statement(c, v, paper, runs[c.id], keeper) for c, v in waiting if runs[c.id]]
        keys = ("paper", "id", "source", "says", "reason")
        others += [{key: v[key] for key in keys} for c, v in waiting if not runs[c.id]]
        papers += [of_paper(paper, statements, runs, keeper)] if statements else []
    return {"kind": keeper.kind.name, "papers": papers, "others": others}


def needed_runs(claim: Claim, results: Path) -> list[WantedRun]:
    """List the runs that would decide a claim: trainings, methods, or the cells of its sweep."""
    if not claim.sweep:
        return wanted_runs(claim, results)
    sweep = sweep_file.load_sweep(claim.sweep)
    return [
        WantedRun(words, "", sweep["seeds"], "", claim.protocol)
        for words in sweep["cells"].values()
    ]


def of_paper(
    paper: str,
    statements: Sequence[Mapping[str, Any]],
    runs: Mapping[str, Sequence[WantedRun]],
    keeper: TimeKeeper,
) -> dict[str, Any]:
    """Return the statements of a paper with the sum of their trainings, each counted once."""
    every = {(r.words, r.networks) for some in runs.values() for r in some if r.words}
    times = [time for run in sorted(every) if (time := keeper.time(*run))]
    cells = [name for words, name in cell_names(paper).items() if words in {w for w, _ in every}]
    return {
        "paper": paper,
        "statements": statements,
        "runs": len(every),
        "not_estimated": len(every) - len(times),
        "device_hours": sum(t.seconds for t in times) / 3600,
        "estimated_by": sorted({t.source for t in times}),
        "command": sweep_command(paper, cells) if cells else "",
    }


def sweep_command(paper: str, cells: Sequence[str]) -> str:
    """Return the command that submits the trainings of a paper's `cells` to a cluster."""
    some = [] if len(cells) == len(cell_names(paper)) else [f"--cells={','.join(cells)}"]
    flags = [f"--sweep=paper:{paper}", f"--jobs={len(cells)}", "--gpus_per_node=1", *some]
    return shlex.join(["cnn-archs", "submit", *flags])


@cache
def cell_names(paper: str) -> dict[Words, str]:
    """Return {experiment and overrides: name of the cell} of the sweep of a paper's trainings."""
    return {words: name for name, words in sweep_file.load_sweep(f"paper:{paper}")["cells"].items()}


def statement(
    claim: Claim,
    verdict: Mapping[str, Any],
    paper: str,
    runs: Sequence[WantedRun],
    keeper: TimeKeeper,
) -> dict[str, Any]:
    """Return a statement that waits for `runs`, with its commands and its device time."""
    times = [keeper.time(run.words, run.networks) for run in runs if run.words]
    known = [time.seconds for time in times if time]
    if claim.sweep:
        commands = [shlex.join(["cnn-archs", "sweep", f"--config={claim.sweep}"])]
    else:
        commands = [line for run in runs for line in commands_of(run, paper)]
    return {
        "id": claim.id,
        "source": claim.source,
        "says": claim.says,
        "printed": format_printed(verdict),
        "commands": list(dict.fromkeys(commands)),
        "trainings": len(times),
        "device_hours": sum(known) / 3600 if known and len(known) == len(times) else None,
    }


def commands_of(run: WantedRun, paper: str) -> Iterator[str]:
    """Yield the commands that make the result file of a run, one a line of a shell."""
    result = f"results/{run.result}"
    if not run.words:
        yield shlex.join(["cnn-archs", "classical", run.row, f"--output={result}"])
        return
    name, *keys = run.words
    workdir = f"runs/{cell_names(paper)[run.words]}"
    flags = [f"--config={name}", *(f"--config.{key}" for key in keys)]
    flags += [f"--config.seeds={run.networks}", f"--workdir={workdir}"]
    yield shlex.join(["cnn-archs", "train", *flags])
    if run.row:
        flags = [f"--workdir={workdir}", f"--output={result}"]
        yield shlex.join(["cnn-archs", "classical", run.row, *flags])
    elif run.protocol == "single":
        yield shlex.join(["cp", f"{workdir}/result.json", result])
    else:
        yield f"{shlex.join(evaluation(run, workdir))} > {shlex.quote(result)}"


def evaluation(run: WantedRun, workdir: str) -> list[str]:
    """Return the words of the command that tests a trained run by its protocol."""
    flags = [f"--protocol={run.protocol}"]
    if run.protocol.startswith("single_"):  # as `evaluate --size` names what it tested
        name, _, size = run.protocol.partition("_")
        flags = [f"--protocol={name}", f"--size={size}"]
    return ["cnn-archs", "evaluate", f"--workdir={workdir}", *flags, "--format=json"]
