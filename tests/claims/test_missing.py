"""`claims --missing`: each statement that waits for a run, the commands for it, and the hours."""

import json
import re
import shlex
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pages import PAGES

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.claims import missing, missing_text, schema, verdicts
from cnn_archs.classical.rows import ROWS
from cnn_archs.evaluate.views import PROTOCOLS
from cnn_archs.experiment import resolve
from cnn_archs.planning import devices, plan, step_cost
from cnn_archs.planning.device_time import DeviceTime
from cnn_archs.sweeps import grid, sweep_file

STATED = schema.load_claims()
PAGE = PAGES["docs/missing.md"]
OF_RUNS = [c for c in STATED.claims if c.ours or c.higher or c.sweep]
HOURS = re.compile(
    r"(?<= )(?:<0\.1|[\d,.]+|\?)(?= \| `cnn-archs)|(?<=counted once).*|(?<=1 training).*"
)


def an_hour_each(words, networks):
    """Return an hour for each network, in place of an estimate."""
    return DeviceTime(3600.0 * networks, "roofline")


KEEPER: Any = SimpleNamespace(kind=devices.find_device("h200"), time=an_hour_each)


def listed(results=verdicts.RESULTS, claims=STATED.claims):
    few = schema.Claims(STATED.papers, STATED.needs, claims, [])
    return missing.list_missing(few, results, KEEPER)


@pytest.fixture(scope="module")
def found():
    return listed()


def statements(document):
    return {s["id"]: s for paper in document["papers"] for s in paper["statements"]}


def test_each_statement_without_a_result_is_listed_once(found):
    judged = {
        c.id: verdicts.evaluate_claim(c, STATED.needs, verdicts.RESULTS)["status"]
        for c in STATED.claims
        if not c.check
    }
    waiting = {id for id, status in judged.items() if status in ("not run", "seen, shorter")}
    ids = [s["id"] for paper in found["papers"] for s in paper["statements"]]
    others = [o["id"] for o in found["others"]]
    assert max(Counter([*ids, *others]).values()) == 1 and {*ids, *others} == waiting
    assert set(ids) == waiting & {c.id for c in OF_RUNS} and len(ids) > 90
    assert all(o["reason"] for o in found["others"]) and "lenet4-boosted-error" in others
    assert all(s["commands"] for s in statements(found).values())


def test_each_command_is_one_that_the_program_takes(found):
    """Tests that they parse, that names in them exist, and that files are where they are read."""
    lines = {line for s in statements(found).values() for line in s["commands"]}
    workdirs, sources = set(), set()
    for line in lines:
        command, _, written = line.partition(" > ")
        words = shlex.split(command)
        if words[0] == "cp":
            sources.add(words[1].removesuffix("/result.json"))
            written = words[2]
        else:
            arguments, overrides = cli.parse(words[1:])
        if words[1] == "train":
            config = configs.load_config(arguments.config, overrides)
            assert config.seeds >= 3
            workdirs.add(arguments.workdir)
        elif words[1] == "evaluate":
            sources.add(arguments.workdir)
            assert arguments.protocol in PROTOCOLS and written.endswith(".json")
        elif words[1] == "classical":
            assert bool(ROWS[arguments.row].network) == bool(arguments.workdir)
            sources |= {arguments.workdir} if arguments.workdir else set()
            written = arguments.output
        elif words[1] == "sweep":
            assert sweep_file.load_sweep(arguments.config)["cells"]
        assert re.fullmatch(r"(results/\w+/[\w-]+\.json)?", written), line
    assert workdirs == sources


def test_each_claim_reads_the_file_that_its_commands_write(found):
    by_id = {c.id: c for c in OF_RUNS}
    for id, s in statements(found).items():
        claim = by_id[id]
        for source in filter(None, (claim.ours, claim.higher, claim.lower)):
            if claim.sweep or list(verdicts.RESULTS.glob(source["result"])):
                continue
            written = [re.split(r"[ =]", line)[-1] for line in s["commands"]]
            assert any(Path(w).match(f"results/{source['result']}") for w in written), id
    sizes = statements(found)["resnet-v2-imagenet-152-error"]["commands"][1]
    assert "--protocol=single --size=320" in sizes


def test_what_has_a_result_is_not_run_again(found):
    """Tests a comparison of which one side, lenet5_1998_mnist:map, has three networks."""
    (train, copy) = statements(found)["lenet5-distortions-help"]["commands"]
    experiment = "cnn-archs train --config=lenet5_1998_mnist:map_distorted --config.seeds=3"
    assert train == f"{experiment} --workdir=runs/lenet5_1998_mnist_map_distorted"
    without = statements(listed(verdicts.RESULTS / "nowhere"))["lenet5-distortions-help"]
    assert [line.split()[2] for line in without["commands"][::2]] == [
        "--config=lenet5_1998_mnist:map",
        "--config=lenet5_1998_mnist:map_distorted",
    ]
    assert not {"notes-mlp-error", "lenet5-linear-error"} & statements(found).keys()


def test_a_training_that_statements_share_is_counted_once():
    """Tests table 6 and figure 6: five comparisons and four errors of six networks."""
    ids = ("resnet20-error", "resnet56-error", "resnet110-error", "plain110-error")
    claims = [
        c for c in STATED.claims if c.id in ids or c.source in ("figure 6", "figures 1 and 6")
    ]
    claims = [c for c in claims if c.paper == "resnet" and not c.check]
    (paper,) = listed(claims=claims)["papers"]
    assert (len(paper["statements"]), paper["runs"], paper["device_hours"]) == (9, 6, 18.0)
    assert statements({"papers": [paper]})["plain-degradation"]["device_hours"] == 6.0
    words = shlex.split(paper["command"])
    arguments, _ = cli.parse(words[1:])
    cells = sweep_file.load_sweep(arguments.sweep)["cells"]
    assert arguments.jobs == 6 and set(arguments.cells.split(",")) <= set(cells)


def test_a_method_that_takes_a_network_s_last_layer_needs_its_training(found):
    s = statements(found)["lenet4-local-error"]
    workdir = "--workdir=runs/lenet4_mnist_4"
    assert s["commands"] == [
        f"cnn-archs train --config=lenet4_mnist:4 --config.seeds=3 {workdir}",
        f"cnn-archs classical lenet4_local {workdir} --output=results/mnist/lenet4_local.json",
    ]
    assert s["device_hours"] == 3.0 and statements(found)["lenet5-svm-error"]["trainings"] == 0


def test_a_statement_of_a_sweep_counts_its_cells(found):
    s = statements(found)["alexnet-relu-speed"]
    assert s["commands"] == ["cnn-archs sweep --config=alexnet_gains:figure_1"]
    assert s["device_hours"] == 2 * 5 * 3  # activations, rates, seeds


def test_the_hours_are_those_of_plan():
    experiment = ("lenet4_mnist:4",)
    keeper = missing.TimeKeeper("h200")
    resolved = resolve(configs.load_config(*experiment, ["seeds=3"]))
    (best, *_) = plan.make_plan(resolved, keeper.kind, 1, keeper.files)["time"]["expected"]
    found = keeper.time(experiment, 3)
    assert found and found.source == best["source"] == "roofline"
    assert best["seconds"][0] == best["seconds"][1] == pytest.approx(found.seconds, rel=0.02)


def test_a_measured_speed_comes_before_the_roofline(tmp_path):
    keeper = missing.TimeKeeper("h200")
    by_roofline = keeper.time(("lenet5_1998_mnist:map",), 3)
    made = json.loads((verdicts.RESULTS / "mnist" / "lenet5_1998_map.json").read_text())
    path = tmp_path / "map.json"
    path.write_text(json.dumps({**made, "device": "1 x NVIDIA H200", "images_per_second": 500.0}))
    keeper.files = [path]
    measured = keeper.estimate(("lenet5_1998_mnist:map",), 3)
    assert measured == (3 * 20 * 60_000 / 500, "measured") and by_roofline
    assert by_roofline.source == "roofline"


def test_a_training_whose_step_is_not_recorded_has_no_hours():
    claims = [c for c in STATED.claims if c.id in ("lenet1-error", "lenet4-error")]
    few = schema.Claims(STATED.papers, STATED.needs, claims, [])
    some: Any = SimpleNamespace(
        kind=KEEPER.kind,
        time=lambda words, n: an_hour_each(words, n) if words == ("lenet4_mnist:1",) else None,
    )
    found = missing.list_missing(few, verdicts.RESULTS, some)
    (paper,) = found["papers"]
    assert [s["device_hours"] for s in paper["statements"]] == [3.0, None]
    assert (paper["runs"], paper["not_estimated"], paper["device_hours"]) == (2, 1, 3.0)
    text = missing_text.missing_text(STATED, found)
    assert "2 trainings, each counted once: 3.0 hours on one h200, without 1 of them, by" in text
    assert re.search(r"^lenet4-error +1.1 % +\? +cnn-archs train", text, re.M)
    assert missing.TimeKeeper("h200").time(("mlp_mnist", "model.hidden=(4,)"), 3) is None
    assert missing.TimeKeeper("h200").time(("mlp_mnist", "data.batch_size=400"), 3) is None


def test_only_trainings_that_statements_name_are_in_the_record():
    sweeps = [f"paper:{paper}" for paper in STATED.papers]
    sweeps += [c.sweep for c in STATED.claims if c.sweep]
    every = [w for sweep in sweeps for w in sweep_file.load_sweep(sweep)["cells"].values()]
    recorded = step_cost.recorded_costs()
    assert set(recorded) <= {step_cost.record_key(words) for words in every}
    for key, cost in recorded.items():
        experiment, *overrides = key.split()
        assert cost.batch == configs.load_config(experiment, overrides).data.batch_size


def test_the_sweep_of_a_paper_trains_what_its_statements_name():
    for paper in STATED.papers:
        sweep = sweep_file.load_sweep(f"paper:{paper}")
        named = {
            source["experiment"]
            for c in STATED.claims
            for source in (c.ours, c.higher, c.lower)
            if c.paper == paper and "experiment" in source
        }
        assert {" --config.".join(words) for words in sweep["cells"].values()} == named
        assert sweep["seeds"] == 3 and len(sweep["cells"]) == len(named)
    for cell in grid.list_cells(sweep_file.load_sweep("paper:notes"), Path("runs")):
        assert re.fullmatch(r"[\w.-]+", cell.name)


def test_the_page_is_what_the_command_prints(found):
    """Run `cnn-archs claims --missing --kind=h200 --format=markdown > docs/missing.md` if not."""
    now = missing_text.missing_markdown(STATED, found) + "\n"
    assert HOURS.sub("", now) == HOURS.sub("", PAGE)


@pytest.mark.slow
def test_the_hours_on_the_page_are_those_of_now():
    now = missing.list_missing(STATED, verdicts.RESULTS, missing.TimeKeeper("h200"))
    assert missing_text.missing_markdown(STATED, now) + "\n" == PAGE


def test_the_table_for_a_terminal_has_a_row_for_each_command(found):
    text = missing_text.missing_text(STATED, found)
    assert re.search(
        r"^lenet1-error +1.7 % +3.0 +cnn-archs train --config=lenet4_mnist:1 ", text, re.M
    )
    assert re.search(
        r"^ +cp runs/lenet4_mnist_1/result.json results/mnist/lenet1.json$", text, re.M
    )
    assert "12 trainings, each counted once: 36 hours on one h200, by a roofline" in text
    assert re.search(r"^lenet4-boosted-error +needs training images", text, re.M)


def test_hours_have_two_digits():
    said = {None: "?", 0.04: "<0.1", 0.16: "0.2", 9.96: "10", 99.4: "99", 1234.0: "1,200"}
    assert {hours: missing_text.format_hours(hours) for hours in said} == said


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--kind=h200"], "--kind=h200 is the device of --missing, which is not given"),
        (["--missing", "--kind=h20"], "--kind=h20: not one of cpu, v100"),
        (["--missing", "--results=nowhere"], "--results: there is no folder nowhere"),
    ],
)
def test_wrong_flags_are_one_line(flags, message, capsys):
    assert cli.main(["claims", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and err.count("\n") == 1
