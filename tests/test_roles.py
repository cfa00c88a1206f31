"""The roles of the knobs, and who may therefore change them."""

import json
from pathlib import Path

import pytest

from cnn_archs import cli, config, config_keys, roles
from cnn_archs.errors import ConfigError

# The knobs that a run may be resumed with another value of: each is here because no number that
# it trains depends on it, or because it says how long to train.
MAY_CHANGE = {
    *("epochs", "steps"),
    *("log_every", "eval_every", "diagnose_every", "checkpoint_every", "keep", "profile"),
    *("mesh.data", "mesh.model", "model.remat", "data.data_dir", "data.threads"),
    *("eval_batch_size", "eval_seconds", "checkpoint_seconds", "seeds_form", "cuda_graph"),
}
BASE = config.base_module()
# An experiment of each network that has knobs of its own, and every choice of every section.
EXPERIMENTS = ("resnet_cifar10:20", "googlenet_imagenet", "vgg_cifar10:A", "lenet5_digits")
CHOICES = [(kind, name) for kind, names in BASE.CHOICES.items() for name in names]


def loaded(experiment, *overrides):
    return json.loads(config.load_config(experiment, list(overrides)).to_json())


def changed(tree, key):
    """Return a copy of the config `tree` whose `key` has another value."""
    section, _, leaf = key.rpartition(".")
    copy = json.loads(json.dumps(tree))
    inner = copy
    for part in filter(None, section.split(".")):
        inner = inner[part]
    inner[leaf] = "another"
    return copy


def refused(before, after):
    try:
        roles.check_resumable(Path("somewhere"), before, after)
    except ConfigError as e:
        return str(e)
    return ""


CONFIGS = {
    **{name: loaded(name) for name in EXPERIMENTS},
    **{f"{k}={n}": loaded("lenet5_digits", f"{k}.name={n}") for k, n in CHOICES},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_resume_may_change_length_layout_and_logging_only(name):
    tree = CONFIGS[name]
    allowed = MAY_CHANGE - ({"eval_every"} if name == "schedule=plateau" else set())
    for key in config_keys.flatten(tree):
        message = refused(tree, changed(tree, key))
        assert (key in allowed) == (message == ""), key
        assert message == "" or f"({key})" in message


def test_every_knob_that_may_change_is_one():
    assert set().union(*(config_keys.flatten(tree) for tree in CONFIGS.values())) >= MAY_CHANGE


def test_every_role_is_of_a_knob_or_a_section():
    trees = CONFIGS.values()
    assert set().union(*(config_keys.flatten(t) for t in trees), *trees) >= set(BASE.ROLES)


@pytest.mark.parametrize(
    "key, tree, other",
    [
        ("eval_every", {"schedule": {"name": "plateau"}}, {"schedule": {"name": "constant"}}),
        ("data.data_dir", {"data": {"name": "image_folder"}}, {"data": {"name": "mnist"}}),
        ("mesh.data", {"model": {"bn_group": -1}}, {"model": {"bn_group": 0}}),
    ],
)
def test_some_knobs_are_of_the_recipe_where_weights_depend_on_them(key, tree, other):
    assert BASE.role(key, tree) == "recipe"
    assert BASE.role(key, other) in ("logging", "layout")


def test_a_run_is_not_resumed_with_another_batch_size(tmp_path, capsys):
    arguments = ["train", "--config=lenet5_digits", f"--workdir={tmp_path}", "--config.steps=2"]
    assert cli.main(arguments) == 0
    assert cli.main([*arguments[:-1], "--config.steps=3", "--config.data.batch_size=16"]) == 2
    assert "another config (data.batch_size)" in capsys.readouterr().err
    assert cli.main([*arguments[:-1], "--config.steps=3", "--config.eval_batch_size=100"]) == 0


def test_networks_of_one_program_differ_in_seeds_and_learning_rates_only():
    first = loaded("lenet5_digits", "seed=1", "schedule.name=constant")
    twin = loaded("lenet5_digits", "seed=5", "seeds=2", "schedule.name=constant")
    twin["schedule"]["learning_rate"] = 1.0
    assert roles.program_differences(first, twin) == []
    assert roles.program_key(first) == roles.program_key(twin)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_networks_that_differ_in_any_other_knob_have_programs_of_their_own(name):
    tree = CONFIGS[name]
    for key in config_keys.flatten(tree):
        other = changed(tree, key)
        same = key in ("seed", "seeds", "schedule.learning_rate")
        assert roles.program_differences(tree, other) == ([] if same else [key])
        assert (roles.program_key(tree) == roles.program_key(other)) == same, key
