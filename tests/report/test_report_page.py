"""The report's page: what stands in it is what the files say, whatever is missing."""

import base64
import hashlib
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_sweep import TEST, Page, compared, degradation, workdir, write_json
from scipy import stats

from cnn_archs import cli

ROOT = Path(__file__).resolve().parent.parent.parent


def report(*paths, output):
    """The page of `paths`."""
    assert cli.main(["report", *map(str, paths), "-o", str(output)]) == 0
    return Page(output.read_text())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep of two seeds, of which one failed and one is not finished."""
    return degradation(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def page(sweep, tmp_path_factory):
    return report(sweep, output=tmp_path_factory.mktemp("page") / "report.html")


def of(folder, cell, split="test"):
    """The last top-1 errors of a cell in percent, from its files."""
    files = sorted((folder / cell).glob("seed*/result.json"))
    return [100 * json.loads(f.read_text())[split]["top1_error"][0] for f in files]


def mean_sd(values):
    if len(values) == 1:
        return f"{values[0]:.2f} (1)"
    return f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f} ({len(values)})"


def test_title_and_numbers_stand_on_top(page):
    assert page.texts[0] == page.texts[1] == "Plain and residual nets on CIFAR-10"
    assert page.texts[2].startswith("cifar10: 4 cells, 6 trained networks; 2 without a result")
    assert "No training images are held out" in page.text


def test_the_table_of_results_has_what_the_files_say(sweep, page):
    rows = page.table("cell", "parameters", "test")
    assert list(rows) == ["resnet56", "resnet20", "plain20", "plain56"]  # by their test error
    means = [statistics.fmean(of(sweep, name)) for name in rows]
    assert means == sorted(means)
    assert page.marked == [["resnet56", mean_sd(of(sweep, "resnet56")), "best"]]
    (heads,) = (table[0] for table in page.tables if "parameters" in table[0])
    assert heads[:2] == ["cell", "test"]
    for name, row in rows.items():
        assert row["test"] == mean_sd(of(sweep, name))
        assert row["train, running average"] == mean_sd(of(sweep, name, "train"))
        assert row["train, as in testing"] == mean_sd(of(sweep, name, "train_eval"))
        assert row["parameters"] == f"{int(name[-2:]) * 10_000:,}"
    assert rows["plain56"]["test"] == "14.00 (1)"


def test_the_paper_stands_beside_ours_with_what_was_changed(sweep, page):
    rows = page.table("the paper says", "paper", "ours")
    row = rows["resnet20\ntest, top-1 error"]
    values = of(sweep, "resnet20")
    said = "ResNet-20 has 8.75 % test error.\nHe, Zhang, Ren & Sun 2015, table 6"
    assert row["paper"] == "8.75" and row["the paper says"] == said
    assert row["ours"] == mean_sd(values) and row["recipe"] == "changed: steps=1500"
    assert row["ours − paper"] == f"{statistics.fmean(values) - 8.75:+.2f}"
    difference = rows["resnet20 − resnet56\ntest, top-1 error"]
    assert difference["paper"] == "above 0" and difference["ours"].endswith(" (2 and 1 seeds)")


def test_networks_without_a_result_are_listed_with_the_reason(page):
    rows = page.table("cell", "run", "why")
    assert rows["plain56"]["why"] == "failed: the loss is not finite (exit code 4, 2 tries)"
    assert rows["resnet56"]["why"] == "not finished: 700 steps so far"
    assert rows["plain56"]["run"] == rows["resnet56"]["run"] == "seed1"


def test_of_one_seed_nothing_is_significant(page):
    assert "The sign is as stated; without a second seed it cannot be significant." in page.texts


def test_two_seeds_are_said_to_be_too_few(tmp_path):
    folder = degradation(tmp_path / "sweep", seeds=2, missing=False, inside=False)
    for seed, error in enumerate((0.02, 0.2)):  # the interval of 2 is 12 times their deviation
        path = folder / "plain56" / f"seed{seed}" / "result.json"
        result = json.loads(path.read_text())
        result["train"]["top1_error"] = [error]
        write_json(path, result)
    page = report(folder, output=tmp_path / "page.html")
    words, numbers = found(page, "plain56 trains worse than plain20")
    assert words == "The sign is as stated; two seeds are too few to tell it from chance."
    assert numbers.endswith("(paired, 2 seeds; two seeds are too few for a narrow one)")


def test_a_thin_line_is_explained_where_there_is_one(tmp_path):
    for seeds, explained in ((1, False), (2, True)):
        folder = degradation(tmp_path / f"{seeds}", seeds=seeds, missing=False, inside=False)
        page = report(folder, output=tmp_path / "page.html")
        assert ("each thin line is a seed" in page.text) == explained


def found(page, says):
    """(words, numbers) of a statement that was compared."""
    at = page.texts.index(says)
    return page.texts[at + 1], page.texts[at + 2]


def test_with_the_same_seeds_differences_are_paired(tmp_path):
    folder = degradation(tmp_path / "sweep", seeds=3, missing=False, inside=False)
    page = report(folder, output=tmp_path / "page.html")
    for says, high, low, split, answer in (
        ("plain56 trains worse than plain20", "plain56", "plain20", "train", "Yes"),
        ("plain20 beats resnet20", "resnet20", "plain20", "test", "No"),
    ):
        words, numbers = found(page, says)
        a, b = of(folder, high, split), of(folder, low, split)
        low_end, high_end = stats.ttest_rel(a, b).confidence_interval(0.95)
        assert words.startswith(f"{answer}: ") and "it is significant" in words
        expected = f"{statistics.fmean(a) - statistics.fmean(b):+.2f} points; 95 % interval "
        expected += f"{low_end:+.2f} to {high_end:+.2f} (paired, 3 seeds)"
        assert numbers.endswith(expected.replace("-", "−")), (numbers, expected)


def test_with_other_seeds_the_interval_is_welch_s_and_a_sign_may_be_unsure(tmp_path):
    folder = degradation(tmp_path / "sweep", seeds=4, inside=False)
    for seed, error in enumerate((0.08, 0.10, 0.095)):
        change(folder / "plain56" / f"seed{seed}" / "result.json", error)
    tree = json.loads((folder / "sweep.json").read_text())
    tree["comparisons"] = [compared("x", "plain56", "plain20", "test.top1_error")]
    write_json(folder / "sweep.json", tree)
    page = report(folder, output=tmp_path / "page.html")
    words, numbers = found(page, "x")
    a, b = of(folder, "plain56"), of(folder, "plain20")
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert low < 0 < high and "not significant: the interval holds 0" in words
    assert f"{low:+.2f} to {high:+.2f} (Welch, 3 and 4 seeds)".replace("-", "−") in numbers


def change(path, error):
    tree = json.loads(path.read_text())
    tree["test"]["top1_error"] = [error]
    write_json(path, tree)


def test_the_best_epoch_is_chosen_on_the_held_out_part_only(tmp_path):
    """The held-out error is least at step 500 of 1,500, the test error at the last."""
    folder = degradation(tmp_path / "sweep", holdout=5000, missing=False, inside=False)
    page = report(folder, output=tmp_path / "page.html")
    rows = page.table("cell", "last epoch", "best epoch")
    lines = (folder / "plain20/seed0/metrics.jsonl").read_text().splitlines()
    at_500 = [
        100 * t["top1_error"]
        for t in map(json.loads, lines)
        if t["split"] == "test" and t["step"] == 500
    ]
    row = rows["plain20"]
    assert row["last epoch"] == mean_sd(of(folder, "plain20"))
    assert float(row["best epoch"].split()[0]) == pytest.approx(at_500[0], abs=0.1)
    assert row["at"] == "5"  # the last of the two columns of that name
    assert row["the best is chosen by"] == "least error on 5,000 held-out training images"
    assert "5,000 of the training images are held out" in page.text


def test_without_a_held_out_part_none_is_chosen(page):
    for row in page.table("cell", "last epoch", "best epoch").values():
        assert row["best epoch"] == "–"
        assert row["the best is chosen by"] == "not selected: last epoch reported"


def test_what_ran_where_and_how_long(page):
    row = page.table("cell", "steps", "device")["plain20"]
    assert row["seed numbers"] == "0, 1" and row["steps"] == "1,500" and row["device"] == "1 x cpu"
    assert row["seconds per seed"] == "60" and row["commit"] == "0123456789"  # 60 and 61
    assert "Python 3.12.1, jax 0.10.2, flax 0.12.8, optax 0.2.8." in page.texts


def test_every_figure_is_there_with_its_panels(page):
    says = [a["aria-label"] for tag, a in page.tags if a.get("role") == "img"]
    assert says[:2] == [f"Error by iteration of {k}20, {k}56" for k in ("plain", "resnet")]
    kinds = (
        *("training error against", "test error against", "deviation in", "norm at step 0"),
        *("norm at step 1,500", "error against shift", "error against shear"),
    )
    for kind in kinds:
        assert [s for s in says if s.startswith(kind)], kind
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 4 and images[0]["alt"] == "first-layer filters of plain20"


def test_the_page_is_one_file_that_loads_nothing(sweep, tmp_path):
    output = tmp_path / "page.html"
    page = report(sweep, output=output)
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    (script,) = page.scripts  # the only one, and the policy admits no other
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for tag, a in page.tags if "http-equiv" in a]
    assert f"script-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none';")
    assert script.isascii() and not re.search(r"\b(fetch|eval|XMLHttpRequest|import)\b", script)
    handlers = [name for _, a in page.tags for name in a if name.startswith("on")]
    assert handlers == [] and "button" not in {tag for tag, _ in page.tags}  # the script adds them
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "@import" not in output.read_text() and not re.search(r"url\((?!#)", output.read_text())
    again = tmp_path / "again.html"
    report(sweep, output=again)
    assert again.read_text() == output.read_text()


def test_tables_can_be_read_by_a_screen_reader(page):
    """Each column and row has a head, and the column by which a table is sorted says so."""
    heads = [a for tag, a in page.tags if tag == "th"]
    assert {a["scope"] for a in heads} == {"row", "col"}
    rows = sum(len(table) for table in page.tables)
    assert sum(a["scope"] == "row" for a in heads) == rows - len(page.tables)
    assert [a["aria-sort"] for a in heads if "aria-sort" in a] == ["ascending"]


@pytest.mark.parametrize("folder", ["cifar10", "mnist"])
def test_no_value_of_python_stands_in_the_page(folder, tmp_path):
    page = report(ROOT / "results" / folder, output=tmp_path / "page.html")
    cells = [cell for table in page.tables for row in table for cell in row]
    for text in (*page.texts, *cells):
        assert not re.search(r"\b(None|True|False|nan|inf|dict|\[\]|\(\))\b", text), text


def test_names_in_a_picture_are_not_those_of_another(page):
    """An id stands once, or for the same thing: a path or a clip that two pictures share."""
    defined: dict[str, Any] = {}
    for i, (tag, attributes) in enumerate(page.tags):
        if "id" in attributes and tag in ("path", "clipPath"):
            what = attributes if tag == "path" else page.tags[i + 1][1]
            assert defined.setdefault(attributes["id"], what) == what


def test_a_sweep_that_is_not_begun_has_a_page(tmp_path):
    folder = degradation(tmp_path / "sweep")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sweep.json").write_text((folder / "sweep.json").read_text())
    (bare / "plain20" / "seed0").mkdir(parents=True)
    page = report(bare, output=tmp_path / "page.html")
    assert "4 cells, 0 trained networks; 8 without a result" in page.text
    assert "Not known: there is no train.top1_error of plain56 and plain20." in page.text
    assert {row["why"] for row in page.table("cell", "why").values()} == {"not started"}
    assert not [a for _, a in page.tags if a.get("role") == "img"]


def test_further_columns_and_other_metrics(tmp_path):
    folder = tmp_path / "sweep"
    for seed in (0, 1):
        extra = {"aux_4a_error": [0.2 + 0.02 * seed]}
        for cell, more in (("relu", 0), ("tanh", 3000)):
            run = workdir(folder / cell / f"seed{seed}", "plain20", seed, 0.1, 0.05)
            tree = json.loads((run / "result.json").read_text())
            tree["test"] |= extra | {"steps_to_25": [900 + 100 * seed + more * (1 + seed)]}
            write_json(run / "result.json", tree)
    write_json(
        folder / "sweep.json",
        dict(
            **dict(title="t", notes="", seeds=2, x=""),
            cells={c: ["cnn_cifar10", f"model.activation={c}"] for c in ("relu", "tanh")},
            comparisons=[compared("tanh is slower", "tanh", "relu", "test.steps_to_25")],
            columns=["test.aux_4a_error", "test.steps_to_25"],
        ),
    )
    page = report(folder, output=tmp_path / "page.html")
    rows = page.table("cell", "test, aux 4a error")
    assert rows["relu"]["test, aux 4a error"] == "21.00 ± 1.41 (2)"
    assert rows["relu"]["test, steps to 25"] == "950.0 ± 70.7 (2)"
    assert "tanh − relu: +4500;" in found(page, "tanh is slower")[1]


# --- Results and runs ----------------------------------------------------------------------------


def test_a_result_file_stands_beside_its_paper(tmp_path):
    path = ROOT / "results" / "mnist" / "lenet5_1998_map.json"
    page = report(path, output=tmp_path / "page.html")
    values = [100 * v for v in json.loads(path.read_text())["test"]["top1_error"]]
    assert page.texts[0] == "Runs on mnist"
    assert page.table("cell", "test")["lenet5_1998_map"]["test"] == mean_sd(values)
    row = page.table("the paper says")["lenet5_1998_map\ntest, top-1 error"]
    assert (row["paper"], row["ours"], row["recipe"]) == ("0.95", mean_sd(values), "unchanged")


def test_unlike_protocols_and_datasets_never_share_a_column(tmp_path):
    page = report(ROOT / "results", output=tmp_path / "page.html")
    results = {
        path.stem: json.loads(path.read_text()) for path in (ROOT / "results").rglob("*.json")
    }

    def kind(r):
        data = r.get("made", {}).get("config", {}).get("data", {})
        smaller = data.get("downsample", data.get("shrink", 1))  # as older versions named it
        imported = "imported" in r.get("made", {})
        return (r["dataset"], smaller, r["protocol"], len(r.get("members", [])), imported)

    seen: set[tuple[Any, ...]] = set()
    for first, *rows in page.tables:
        if "test" in first:
            kinds = {kind(results[row[0]]) for row in rows}
            assert len(kinds) == 1 and not kinds & seen
            seen |= kinds
    assert len(seen) >= 6


def test_a_cell_of_a_sweep_is_its_runs_or_its_result(tmp_path):
    """CELL/result.json is of all of its seeds: it does not count beside them."""
    folder = degradation(tmp_path / "sweep", missing=False, inside=False) / "resnet20"
    whole = json.loads((folder / "seed0/result.json").read_text())
    whole |= {"seeds": [0, 1], "made": {"command": ["launch.py", "sweep", "--config=x"]}}
    for split in whole.values():
        if isinstance(split, dict) and "top1_error" in split:
            split |= {key: values * 2 for key, values in split.items() if isinstance(values, list)}
    whole["test"]["top1_error"] = [e / 100 for e in of(tmp_path / "sweep", "resnet20")]
    write_json(folder / "result.json", whole)
    page = report(folder, output=tmp_path / "page.html")
    assert page.table("cell", "test").keys() == {"seed0", "seed1"}
    page = report(folder / "result.json", output=tmp_path / "page.html")
    row = page.table("cell", "test")["resnet20"]
    assert row["test"] == mean_sd(of(tmp_path / "sweep", "resnet20"))


def test_a_workdir_and_a_sweep_in_one_page(sweep, tmp_path):
    run = workdir(tmp_path / "run", "resnet20", 7, 0.0875, 0.02)
    page = report(sweep, run, output=tmp_path / "page.html")
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links == ["#part1", "#part2"] and "Runs on cifar10" in page.texts
    error = json.loads((run / "result.json").read_text())["test"]["top1_error"][0]
    assert page.table("cell", "test")["run"]["test"] == f"{100 * error:.2f} (1)"
    assert page.table("cell", "test").keys() == {"run", *TEST}


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        ("nowhere", 2, "report: there is no nowhere"),
        ("empty", 2, "report: there is no sweep, run or result in empty"),
        ("sweep -o none/page.html", 2, "--output: there is no folder"),
        ("sweep -o empty", 2, "--output=empty is a folder"),
        ("whole -o /dev/full", 3, "cannot write /dev/full: No space left on device"),
        ("other.json", 3, "other.json is not a result"),
        ("broken.json", 3, "broken.json is damaged"),
        ("damaged", 3, "damaged/sweep.json is damaged"),
    ],
)
def test_mistakes_are_one_line(arguments, code, message, tmp_path, monkeypatch, capsys, sweep):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep").symlink_to(sweep)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/sweep.json").write_text('{"title": "t"}')
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    workdir(tmp_path / "whole", "resnet20", 0, 0.1, 0.1)
    assert cli.main(["report", *arguments.split()]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err, err


def test_the_command_says_what_it_wrote(sweep, tmp_path, capsys):
    output = tmp_path / "page.html"
    assert cli.main(["report", str(sweep), "-o", str(output), "--format=json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == str(output)
    (part,) = document["sections"]
    assert (part["finished"], part["missing"]) == (6, 2) and len(part["figures"]) == 5
    assert cli.main(["report", str(sweep), "-o", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}: 6 networks, 2 without a result\n"


def test_no_device_is_touched(sweep, tmp_path):
    code = "import sys; from cnn_archs import cli; code = cli.main(sys.argv[1:]); "
    code += "sys.exit(code or 'jax' in sys.modules)"
    arguments = ["report", str(sweep), "-o", str(tmp_path / "page.html")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=60)


def test_how_long_each_took_to_an_error(sweep, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(sweep, folder)
    stated = json.loads((folder / "sweep.json").read_text())
    level = 0.5
    write_json(
        folder / "sweep.json", {**stated, "reach": [{"metric": "test.top1_error", "level": level}]}
    )
    found = report(folder, output=tmp_path / "report.html").table("cell", "to an error")["plain20"]
    steps = []
    for log in sorted((folder / "plain20").glob("seed*/metrics.jsonl")):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        low = [x["step"] for x in lines if x["split"] == "test" and x["top1_error"] <= level]
        steps.append(min(low))
    assert found["to an error"] == "test, top-1 error, of 50 %" and found["networks"] == "2 of 2"
    assert found["steps"].startswith(f"{statistics.fmean(steps):.1f} ± ")
