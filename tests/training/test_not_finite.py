"""A run whose weights or losses are not finite ends with exit code 4 and saves none of them."""

import json
import shutil

import jax
import jax.numpy as jnp
import pytest

import cnn_archs
from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.errors import NotFinite
from cnn_archs.experiment import resolve
from cnn_archs.training import loop
from cnn_archs.training.build import Member, build_trainer
from cnn_archs.training.trainer_checkpoint import items_of_state

MLP = ("model.name=mlp", "model.hidden=(3,)", "eval_batch_size=400", "data.batch_size=100")
FLAGS = [f"--config.{key}" for key in MLP]
BRIGHT = "--config.data.pixel_range=(0.0,1000.0)"  # so that gradients are large


def check_nothing_kept(workdir):
    """Check that a run has no result, no step, and no line that is not finite."""
    assert not (workdir / "result.json").exists()
    assert list((workdir / "checkpoints").iterdir()) == []
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "rate, more, said",
    [
        ("3e38", (BRIGHT,), "the weights or batch statistics are not finite after step 1"),
        ("2e38", (), "the loss on test is not finite at step 1"),
        ("2e38", ("--config.data.holdout=100",), "the loss on val is not finite at step 1"),
    ],
)
def test_the_last_step_may_break_the_network(rate, more, said, tmp_path, capsys):
    flags = [*FLAGS, "--config.steps=1", f"--config.schedule.learning_rate={rate}", *more]
    assert cli.main(["train", f"--workdir={tmp_path}", *flags]) == 4
    out, err = capsys.readouterr()
    *_, last = err.splitlines()
    assert out == "" and last.startswith(f"error: {said}") and err.count("error: ") == 1
    check_nothing_kept(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the workdir of a finished run, and its trainer."""
    workdir = tmp_path_factory.mktemp("trained")
    one = resolve(configs.load_config("lenet5_digits", [*MLP, "steps=2", "average.name=ema"]))
    loop.train(one, workdir)
    return workdir, build_trainer(Member(one, workdir))


@pytest.mark.parametrize("item", ["params", "average"])
@pytest.mark.parametrize("value", [jnp.inf, jnp.nan])
def test_weights_that_are_not_finite_are_not_used(item, value, trained, tmp_path, capsys):
    workdir, trainer = trained
    copy = shutil.copytree(workdir, tmp_path / "copy")
    state = trainer.member_state(slice(None))
    broken = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(value), getattr(state, item))
    notes = {"seconds": 1.0, "settled": True, "parts": []}
    state = state.replace(**{item: broken})
    Checkpoints(copy / "checkpoints").save(9, items_of_state(state), notes)
    for more in ([], ["--protocol=mirror"], ["--robustness"]):
        assert cli.main(["evaluate", f"--workdir={copy}", *more]) == 4
        err = capsys.readouterr().err
        assert err == f"error: the weights of {copy} at step 9 are not finite\n"
    with pytest.raises(NotFinite):
        cnn_archs.load(copy)
