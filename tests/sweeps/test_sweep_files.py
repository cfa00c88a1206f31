"""Each cell of every sweep file is a complete experiment, and the one that the grid states."""

import json
from fractions import Fraction
from functools import cache, partial

import jax
import pytest

from cnn_archs import config as configs
from cnn_archs import config_files, models, roles
from cnn_archs.experiment import resolve_settings

MODULES = {
    path.stem: config_files.execute_file(path)
    for path in sorted((config_files.EXPERIMENTS / "sweeps").glob("[!_]*.py"))
    if path.stem != "paper"  # of experiments as they are; tests/claims/test_missing.py
}
GRIDS = [(name, argument) for name, module in MODULES.items() for argument in module.ARGUMENTS]
KEYS = {"title", "seeds", "cells", "comparisons", "x"}
OPTIONAL = {"groups", "after", "columns", "reach"}
METRICS = {f"{split}.top1_error" for split in ("train", "train_eval", "val", "test", "challenge")}
each_grid = pytest.mark.parametrize("name, argument", GRIDS)


@cache
def sweep(name, argument):
    return MODULES[name].get_sweep(argument)


@cache
def resolved(name, argument):
    """Return {cell: its config}."""
    return {
        cell: configs.load_config(experiment, keys)
        for cell, (experiment, *keys) in sweep(name, argument)["cells"].items()
    }


def test_the_grids_that_there_are():
    assert set(MODULES) == {
        *("degradation", "depth", "inception_width", "alexnet_gains", "vgg_columns"),
        *("lenet_activation", "mlp_vs_cnn", "augmentation", "notes_claims"),
        "training_set_size",
    }
    for name, module in MODULES.items():
        assert {"", "quick"} <= set(module.ARGUMENTS)
        command = f"python launch.py sweep --config=experiments/sweeps/{name}.py"
        assert module.__doc__ and command in module.__doc__ and "`quick`" in module.__doc__
        assert module.get_sweep() == module.get_sweep("")


@each_grid
def test_a_grid_is_json_with_the_known_keys(name, argument):
    grid = sweep(name, argument)
    assert KEYS <= grid.keys() <= KEYS | OPTIONAL
    assert json.loads(json.dumps(grid)) == grid
    assert grid["title"] and grid["seeds"] >= 1 and grid["x"] in ("depth", "macs", "params", "")
    assert set(grid.get("after", ())) <= {"robustness"}
    for cell in grid["cells"]:
        assert cell.replace("_", "").replace("-", "").replace(".", "").isalnum()


@pytest.mark.parametrize(
    "name, argument",
    [
        pytest.param(
            *g, marks=pytest.mark.slow if g[0] == "inception_width" and g[1] != "quick" else ()
        )
        for g in GRIDS
    ],
)
def test_cells_are_distinct_and_complete(name, argument):
    configurations = resolved(name, argument)
    assert len({c.to_json() for c in configurations.values()}) == len(configurations)
    for config in configurations.values():
        resolve_settings(config).recipe.make_rules(100.0)
        parameters(config)


def parameters(config):
    """Count the parameters of the network of `config`, by tracing it.

    Of the equal units of a stage two count, and of the modules four.
    """
    outlined = resolve_settings(config)
    model = outlined.model
    if "blocks" in config.model:
        model = model.clone(blocks=tuple(min(n, 2) for n in config.model.blocks))
    if "modules" in config.model:
        few = {name: config.model.modules[name] for name in ("3b", "4a", "4d", "5a")}
        model = model.clone(modules=models.hashable(few))
    return traced(model, outlined.image_shape)


@cache
def traced(model, image):
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(partial(models.init, model, image_shape=image), key)
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


@each_grid
def test_comparisons_and_groups_name_cells(name, argument):
    grid = sweep(name, argument)
    for c in grid["comparisons"]:
        assert {c["higher"], c["lower"]} <= grid["cells"].keys() and c["higher"] != c["lower"]
        assert c["says"] and c["metric"] in METRICS
    for cells in grid.get("groups", {}).values():
        assert len(set(cells)) == len(cells) and set(cells) <= grid["cells"].keys()
    for r in grid.get("reach", ()):
        assert r["metric"] in METRICS and 0 < r["level"] < 1


@pytest.mark.parametrize("name, argument", [grid for grid in GRIDS if grid[1] == "quick"])
def test_quick_is_less_of_the_full_grid(name, argument):
    quick, full = sweep(name, "quick"), sweep(name, "")
    assert quick["cells"].keys() <= full["cells"].keys() and quick["seeds"] < full["seeds"]
    assert quick["title"] == full["title"]
    for cell, config in resolved(name, "quick").items():
        whole = resolved(name, "")[cell]
        assert config.data.name == whole.data.name
        before, after = parameters(whole), parameters(config)
        assert after <= before
        assert examples(config) <= 12_000 or config.data.name == "shapes"
        falls = config.schedule.get("boundaries", ())
        assert list(falls) == sorted(falls) and all(b < length(config) for b in falls)


def examples(config):
    return config.data.examples or 60_000


def length(config):
    """Return the length of training in the unit of the schedule."""
    if config.steps and config.schedule.get("unit") == "epoch":
        return config.steps * config.data.batch_size / examples(config)
    return config.steps or config.epochs


def test_the_quick_degradation_is_the_issues():
    """Two depths, plain and residual; 1,500 updates and two seeds of each."""
    assert set(sweep("degradation", "quick")["cells"]) == {
        *("plain20", "plain44", "residual20", "residual44")
    }
    assert sweep("degradation", "quick")["seeds"] == 2
    for config in resolved("degradation", "quick").values():
        assert config.steps == 1_500 and config.seeds == 1 and config.model.width < 1
        assert config.schedule.learning_rate == 0.1 and config.mirror


def test_the_full_degradation_is_the_papers():
    grid, found = sweep("degradation", ""), resolved("degradation", "")
    assert grid["seeds"] == 5 and len(found) == 10
    for cell, config in found.items():
        depth = 6 * config.model.blocks[0] + 2
        assert cell in (f"plain{depth}", f"residual{depth}")
        assert (config.model.shortcut == "none") == cell.startswith("plain")
        assert (config.steps, config.data.batch_size, config.data.holdout) == (64_000, 128, 0)
        assert config.schedule.boundaries == (32_000.0, 48_000.0)
        assert config.warmup.name == ("error" if depth == 110 else "none")
    for config in resolved("degradation", "selection").values():
        assert config.data.holdout == 5_000
    first = resolved("degradation", "first")
    assert {cell: found[cell].to_json() for cell in first} == {
        cell: config.to_json() for cell, config in first.items()
    }
    kinds = {c.model.shortcut for c in resolved("degradation", "shortcuts").values()}
    assert kinds == {"A", "B", "C"}


def test_the_quarter_differs_from_the_paper_in_its_length_alone():
    """Section 4.2: 64,000 iterations of 128 of 50,000 images; the rate falls at 32k and 48k."""
    grid, found = sweep("degradation", "quarter"), resolved("degradation", "quarter")
    assert set(found) == {"plain20", "plain56", "residual20", "residual56"} and grid["seeds"] == 3
    for cell, config in found.items():
        full = resolved("degradation", "")[cell]
        changed = roles.differences(json.loads(full.to_json()), json.loads(config.to_json()))
        assert changed == ["diagnose_every", "schedule.boundaries", "steps"]
        assert config.steps == 64_000 / 4
        assert config.schedule.boundaries == (32_000 / 4, 48_000 / 4)
        epoch = Fraction(50_000, 128)
        assert Fraction(str(config.diagnose_every)) * epoch == 1_000
        assert config.eval_every == 1.0
        assert config.checkpoint_every * epoch * 1.5 < 600  # seconds, at 1.5 a step


def test_each_cell_of_alexnets_gains_changes_what_it_says():
    grid = resolved("alexnet_gains", "")
    printed = json.loads(grid["as_printed"].to_json())

    def changed(cell):
        return roles.differences(printed, json.loads(grid[cell].to_json()))

    assert changed("tanh") == ["model.activation"] and changed("no_lrn") == ["model.lrn"]
    assert changed("pool_apart") == ["model.pool"] and changed("no_dropout") == ["model.dropout"]
    assert changed("no_augmentation") == ["crop.name", "crop.pixels", "mirror"]
    assert changed("colours") == ["color.name", "color.sigma"]
    rates = {(c.model.activation, c.schedule.learning_rate) for n, c in grid.items() if "fig" in n}
    assert rates == {(a, r) for a in ("relu", "tanh") for r in MODULES["alexnet_gains"].RATES}
    for cell in (c for c in grid if c.startswith("figure_1")):  # no regularization of any kind
        config = grid[cell]
        assert config.optimizer.weight_decay == 0 and not config.mirror
        assert config.crop.name == config.augment.name == config.color.name == "none"


def test_the_parts_of_alexnets_gains_are_cells_of_the_whole():
    whole = sweep("alexnet_gains", "")
    speed, normalized = sweep("alexnet_gains", "figure_1"), sweep("alexnet_gains", "lrn")
    assert speed["cells"].items() <= whole["cells"].items() and len(speed["cells"]) == 10
    assert normalized["cells"].items() <= whole["cells"].items() and len(normalized["cells"]) == 2
    assert (speed["reach"], speed["groups"]) == (whole["reach"], whole["groups"])
    assert all(c in whole["comparisons"] for c in normalized["comparisons"])
    assert speed["seeds"] == normalized["seeds"] == whole["seeds"] == 3


def test_small_inception_changes_width_and_length_only():
    full, small = resolved("inception_width", ""), resolved("inception_width", "small")
    assert len(small) == 6 and small.keys() < full.keys()
    for cell, config in small.items():
        values = [json.loads(c.to_json()) for c in (full[cell], config)]
        lengths = ["epochs", "eval_every", "schedule.boundaries", "steps"]
        assert set(roles.differences(*values)) <= {"model.width", *lengths}
        assert (config.model.width, config.steps) == (0.5, 10_000)
        ends = [float(b * 50_000 / 128 / 10_000) for b in config.schedule.boundaries]
        assert ends == pytest.approx([60 / 90, 80 / 90], abs=0.005)


def test_a_branch_without_width_is_gone():
    grid = resolved("inception_width", "")
    sizes = {cell: parameters(config) for cell, config in grid.items()}
    for branch in ("1x1", "3x3", "5x5", "pool"):
        assert sizes[f"{branch}_none"] < sizes[f"{branch}_half"] < sizes["printed"]
        assert sizes["printed"] < sizes[f"{branch}_double"]
    assert sizes["no_auxiliary"] < sizes["printed"]
    assert resolved("inception_width", "quick")["naive"].model.module == "naive"


def test_what_is_compared_on_mnist_sees_the_same_digits():
    grid = resolved("notes_claims", "")
    lenet, alexnet = grid["mnist_lenet5"], grid["mnist_alexnet"]
    assert lenet.data.name == alexnet.data.name == "mnist" and lenet.epochs == alexnet.epochs
    assert alexnet.crop.name == "none" and not alexnet.mirror
    assert resolve_settings(alexnet).image_shape == (32, 32, 1)


def test_five_seeds_are_tested_on_moved_digits():
    grid = sweep("mlp_vs_cnn", "")
    assert grid["seeds"] == 5 and grid["after"] == ["robustness"]
