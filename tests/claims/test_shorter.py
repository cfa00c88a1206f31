"""Statements that are tested at a shorter length: by which runs and test, and never more."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cnn_archs import config as configs
from cnn_archs import roles
from cnn_archs.claims import results_page, schema, verdict_text, verdicts
from cnn_archs.claims.checks import recipes
from cnn_archs.errors import DataError
from cnn_archs.sweeps import sweep_file

LENGTH = "--config.epochs=3.0"
NARROW = "mlp_mnist --config.model.hidden=(64,)"
TABLE: dict[str, Any] = dict(
    id="narrow",
    paper="notes",
    source="table 1",
    says="A narrow network has a higher error.",
    value="higher",
    unit="%",
    metric="test.top1_error",
    protocol="single",
    higher=dict(experiment=NARROW, result="mnist/narrow.json"),
    lower=dict(experiment="mlp_mnist", result="mnist/mlp.json"),
    needs="hours",
    shorter=dict(length=LENGTH, higher="mnist/short_narrow.json", lower="mnist/short_mlp.json"),
)
NEEDS = {"hours": "an hour"}
HIGH, LOW = (0.031, 0.034, 0.032), (0.020, 0.021, 0.022)


def run(experiment, errors, seeds=None):
    """Return the result of `experiment` with one test error for each seed."""
    config = json.loads(recipes.config(experiment).to_json())
    return {
        **dict(name="mlp", dataset="mnist", protocol="single", test={"top1_error": list(errors)}),
        **dict(seeds=seeds or list(range(len(errors))), steps=1, epochs=config["epochs"]),
        "made": {"config": config},
    }


def short(high, low):
    """Return the files of both networks, trained for 3 of their 12 epochs."""
    of = ((NARROW, "narrow", high), ("mlp_mnist", "mlp", low))
    return {f"short_{name}": run(f"{e} {LENGTH}", errors) for e, name, errors in of}


def verdict(tmp_path, files, **changes):
    """Return the verdict on TABLE with `changes`; files: {name in mnist/: result}."""
    (tmp_path / "mnist").mkdir()
    for name, result in files.items():
        (tmp_path / "mnist" / f"{name}.json").write_text(json.dumps(result))
    claim = schema.parse_claim({**TABLE, **changes}, {"notes": "the notes"}, NEEDS)
    return verdicts.evaluate_claim(claim, NEEDS, tmp_path)


@pytest.mark.parametrize(
    "high, low, sign",
    [
        (HIGH, LOW, "as stated"),
        (LOW, HIGH, "contrary"),
        ((0.020, 0.021, 0.040), (0.019, 0.021, 0.022), "open"),  # higher, but not surely
        ((0.02, 0.02, 0.02), (0.02, 0.02, 0.02), "open"),
    ],
)
def test_three_networks_each_are_tested_as_the_claim_is(high, low, sign, tmp_path):
    v = verdict(tmp_path, short(high, low))
    assert (v["status"], v["sign"], v["seeds"]) == ("seen, shorter", sign, [3, 3])
    assert v["length"] == "3 of 12 epochs"
    assert v["found"] == pytest.approx(100 * (np.mean(high) - np.mean(low)), abs=1e-9)
    assert "an hour; there is no mnist/narrow.json" in v["reason"]
    if np.ptp(high):
        welch = stats.ttest_ind(high, low, equal_var=False, alternative="greater")
        paired = stats.ttest_rel(high, low).confidence_interval(0.95)
        assert v["p"] == pytest.approx(welch.pvalue) and v["interval"] == "paired"
        assert (v["low"], v["high"]) == pytest.approx((100 * paired.low, 100 * paired.high))


@pytest.mark.parametrize(
    "files, reason",
    [
        (short(HIGH[:2], LOW), "mnist/short_narrow.json: 2 of the 3 networks"),
        (short(HIGH, LOW[:1]), "mnist/short_mlp.json: 1 of the 3 networks"),
        (short(HIGH, LOW) | {"short_mlp": run("mlp_mnist --config.epochs=6.0", LOW)}, "epochs"),
        (short(HIGH, LOW) | {"short_mlp": run(f"{NARROW} {LENGTH}", LOW)}, "model.hidden"),
        ({"short_mlp": run("mlp_mnist", LOW)}, "there is no mnist/short_narrow.json"),
    ],
)
def test_less_is_not_seen(files, reason, tmp_path):
    v = verdict(tmp_path, files)
    assert v["status"] == "not run" and "sign" not in v and "found" not in v
    assert "; at a shorter length: " in v["reason"] and reason in v["reason"]


@pytest.mark.parametrize("high, low, status", [(HIGH, LOW, "reproduced"), (LOW, HIGH, "missed")])
def test_the_full_length_decides_whatever_was_seen_before(high, low, status, tmp_path):
    whole = {"narrow": run(NARROW, high), "mlp": run("mlp_mnist", low)}
    for files in (whole, whole | short(low, high)):
        folder = tmp_path / str(len(files))
        folder.mkdir()
        v = verdict(folder, files)
        assert v["status"] == status and not {"sign", "length", "reason"} & v.keys()


def test_one_network_of_the_full_length_leaves_what_was_seen(tmp_path):
    files = short(HIGH, LOW) | {"narrow": run(NARROW, HIGH[:1]), "mlp": run("mlp_mnist", LOW)}
    v = verdict(tmp_path, files)
    assert v["status"] == "seen, shorter" and "1 of the 3 networks" in v["reason"]


def test_a_short_run_under_the_name_of_a_whole_one_reproduces_nothing(tmp_path):
    made = short(HIGH, LOW)
    v = verdict(tmp_path, {"narrow": made["short_narrow"], "mlp": made["short_mlp"]})
    assert v["status"] == "not run" and "its config is not that of" in v["reason"]


@pytest.mark.parametrize(
    "length, message",
    [
        ("--config.epochs=12.0", "is not shorter than mlp_mnist"),
        ("--config.epochs=24.0", "is not shorter than mlp_mnist"),
        (f"{LENGTH} --config.mirror=true", "differs from .* in mirror$"),
        (f"{LENGTH} --config.data.batch_size=64", "differs from .* in data.batch_size$"),
        ("--config.epoch=3.0", "epoch"),
    ],
)
def test_a_shorter_form_that_changes_more_is_an_error_of_the_file(length, message, tmp_path):
    with pytest.raises(DataError, match=f"^claim narrow: .*{message}"):
        verdict(tmp_path, {}, shorter={**TABLE["shorter"], "length": length})


def test_the_rate_falls_after_the_same_parts_of_the_length(tmp_path):
    whole = "resnet_cifar10:plain56"
    sides = {role: dict(experiment=whole, result="cifar10/x.json") for role in ("higher", "lower")}
    early = "--config.steps=16000 --config.schedule.boundaries=(4000.0,12000.0)"
    with pytest.raises(DataError, match=r"differs from .* in schedule.boundaries$"):
        verdict(tmp_path, {}, **sides, shorter={**TABLE["shorter"], "length": early})


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(shorter=dict(length=LENGTH)), "shorter has length, higher and lower"),
        (dict(value=1.0, tolerance=0.1), "shorter is for a sign only"),
    ],
)
def test_a_wrong_table_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        schema.parse_claim({**TABLE, **changes}, {"notes": "the notes"}, NEEDS)


def test_the_shorter_forms_are_those_of_the_sweep():
    """Tests that the sweep `degradation:quarter` trains what figure 6's statements wait for."""
    cells = sweep_file.load_sweep("degradation:quarter")["cells"]
    stated = [c for c in schema.load_claims().claims if c.shorter]
    assert len(stated) == 5 and {c.paper for c in stated} == {"resnet"}
    for claim in stated:
        for role, source in (("higher", claim.higher), ("lower", claim.lower)):
            name = claim.shorter[role].removeprefix("cifar10/degradation_quarter_")
            experiment, *keys = cells[name.removesuffix("_seed*.json")]
            made = configs.to_plain_dict(configs.load_config(experiment, keys))
            asked = recipes.config(f"{source['experiment']} {claim.shorter['length']}")
            assert roles.outcome_differences(configs.to_plain_dict(asked), made) == []


def test_pages_say_which_sign_was_seen_and_where(tmp_path):
    v = verdict(tmp_path, short(LOW, HIGH))
    said = "contrary at 3 of 12 epochs: -1.13, 95 % interval -1.51 to -0.75, p = 1"
    assert verdict_text.format_found(v) == said
    stated = schema.Claims({"notes": "the notes"}, NEEDS, [], [])
    assert "1 seen, shorter, 0 not run" in verdict_text.format_verdicts(stated, [v])
    page = results_page.results_markdown(stated, [v], tmp_path / "nowhere")
    assert f"| higher | {said} | seen, shorter |" in page
    line = (
        f"- the notes, table 1: A narrow network has a higher error. The sign is {said} (paired, "
    )
    assert f"## Seen at a shorter length\n\n{line}3 and 3 networks)." in page
    assert "## Not run" not in page
