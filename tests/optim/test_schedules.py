"""Learning rates at and around their boundaries, and the three printed tables of LeNet-5."""

import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_archs import config
from cnn_archs.experiment import resolve, resolve_settings
from cnn_archs.optim import optimizers, schedules, warmups
from cnn_archs.training.build import Member, build_trainer


def rates(schedule, steps):
    """Return the rates of a schedule that depends only on the step."""
    return [float(schedule.rate(schedule.init(), jnp.int32(step))) for step in steps]


# --- The tables --------------------------------------------------------------------------------

# fmt: off
PRINTED = {  # the rate of each of the 20 passes
    # LeCun et al. 1998, section III.B: "0.0005 for the first two passes, 0.0002 for the next
    # three, 0.0001 for the next three, 0.00005 for the next 4, and 0.00001 thereafter"
    "lenet5_paper1998": [0.0005] * 2 + [0.0002] * 3 + [0.0001] * 3 + [0.00005] * 4 + [0.00001] * 8,
    # The lecture notes: 0.005 for 2 epochs, 0.0002 for 3, 0.00005 for 4, then 0.00001
    "lenet5_notes": [0.005] * 2 + [0.0002] * 3 + [0.00005] * 4 + [0.00001] * 11,
    # The textbook, epochs from 0: 0.0005 while epoch <= 2, 0.0002 <= 5, 0.00005 <= 9, 0.00001
    "lenet5_book": [0.0005] * 3 + [0.0002] * 3 + [0.00005] * 4 + [0.00001] * 10,
}
# fmt: on


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize(
    "steps_per_epoch", [60_000.0, 60_000 / 128, 1_437 / 32], ids=["1", "128", "digits"]
)
def test_lenet5_tables_at_every_pass(name, steps_per_epoch):
    """Steps per epoch: 60,000, 468.75 and 44.90625."""
    assert len(PRINTED[name]) == 20
    schedule = schedules.create(name, steps_per_epoch)
    first = [math.ceil(p * steps_per_epoch) for p in range(20)]
    last = [step - 1 for step in first[1:]] + [math.ceil(20 * steps_per_epoch) - 1]
    expected = np.asarray(PRINTED[name], np.float32).tolist()  # as printed, to the last bit
    assert rates(schedule, first) == expected
    assert rates(schedule, last) == expected


def test_the_tables_have_no_knobs():
    with pytest.raises(TypeError):
        schedules.create("lenet5_book", 100.0, learning_rate=0.1)


# --- Piecewise ---------------------------------------------------------------------------------


def piecewise(steps_per_epoch, boundaries, unit, factors=(1.0, 0.1, 0.01), bias_factors=()):
    knobs = dict(learning_rate=0.5, factors=factors, boundaries=boundaries, unit=unit)
    knobs["bias_factors"] = bias_factors
    return schedules.create("piecewise", steps_per_epoch, **knobs)


def test_piecewise_changes_at_the_step_it_names():
    schedule = piecewise(7.0, (100.0, 200.0), "step")
    found = rates(schedule, [0, 99, 100, 199, 200, 10**6])
    np.testing.assert_allclose(found, [0.5, 0.5, 0.05, 0.05, 0.005, 0.005], rtol=1e-6)


def test_piecewise_in_epochs_changes_at_the_first_step_of_the_epoch():
    """1,437 examples in batches of 32: epoch 2 begins at 89.8, so step 90 is the first of it."""
    schedule = piecewise(1_437 / 32, (2.0, 3.0), "epoch")
    found = rates(schedule, [89, 90, 134, 135])  # 3 * 44.9 = 134.7
    np.testing.assert_allclose(found, [0.5, 0.05, 0.05, 0.005], rtol=1e-6)


def test_pieces_are_those_that_searchsorted_finds():
    """Bit for bit, also where several boundaries are at the same step."""
    boundaries, steps = (3, 3, 5, 9, 9, 9, 40), np.arange(50, dtype=np.int32)
    values = tuple(np.random.default_rng(0).random(8).tolist())
    schedule = schedules.piecewise_rates(values, boundaries)
    expected = np.asarray(values, np.float32)[np.searchsorted(boundaries, steps, side="right")]
    assert rates(schedule, steps) == expected.tolist()
    assert rates(schedules.piecewise_rates((0.1,), ()), [0, 9]) == [np.float32(0.1)] * 2


@pytest.mark.parametrize("examples, batch", [(50_000, 96), (1_437, 7), (60_000, 96), (50_000, 7)])
def test_the_first_step_of_an_epoch_is_exact(examples, batch):
    """In floats, 30 * (50000 / 96) is a little more than 15625."""
    for epoch in range(200):
        exact = math.ceil(Fraction(epoch * examples, batch))
        assert schedules.first_step(float(epoch), "epoch", examples / batch) == exact


@pytest.mark.parametrize("epochs, step", [(1.1, 110), (0.7, 70), (2.3, 230), (0.07, 7)])
def test_decimal_epochs_are_exact(epochs, step):
    """1.1 * 100.0 is 110.00000000000001 in floats."""
    assert schedules.first_step(epochs, "epoch", 100.0) == step


def test_a_run_of_decimal_epochs_is_exact():
    """1,000 of the digits in batches of 10: 1.1 epochs are 110 steps, and 0.1 are 10."""
    overrides = ["model.name=mlp", "model.hidden=(1,)", "data.batch_size=10", "data.holdout=437"]
    overrides += ["epochs=1.1", "eval_every=0.1", "checkpoint_every=0.7"]
    run = build_trainer(Member(resolve(config.load_config("lenet5_digits", overrides))))
    assert run.total_steps == 110
    assert (run.periods["evaluate"], run.periods["checkpoint"]) == (10, 70)


def test_piecewise_without_boundaries_is_constant():
    assert rates(piecewise(10.0, (), "epoch", factors=(1.0,)), [0, 10**6]) == [0.5, 0.5]


def test_two_boundaries_at_one_step_leave_the_last_rate():
    schedule = piecewise(10.0, (5.0, 5.0), "step")
    np.testing.assert_allclose(rates(schedule, [4, 5]), [0.5, 0.005], rtol=1e-6)


# --- Constant and exponential ------------------------------------------------------------------


def test_constant():
    schedule = schedules.create("constant", 10.0, learning_rate=0.25)
    assert rates(schedule, [0, 1, 10**6]) == [0.25] * 3


def exponential(steps_per_epoch, **knobs):
    defaults = dict(learning_rate=0.01, factor=0.96, every=8.0, unit="epoch", staircase=True)
    return schedules.create("exponential", steps_per_epoch, **{**defaults, **knobs})


def test_exponential_staircase_falls_at_whole_periods():
    """GoogLeNet's 4 % every 8 epochs: 80 steps here."""
    found = rates(exponential(10.0), [0, 79, 80, 159, 160])
    expected = [0.01, 0.01, 0.01 * 0.96, 0.01 * 0.96, 0.01 * 0.96**2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_exponential_without_staircase_is_smooth():
    found = rates(exponential(10.0, staircase=False), [0, 40, 80, 120])
    np.testing.assert_allclose(found, 0.01 * 0.96 ** np.array([0, 0.5, 1, 1.5]), rtol=1e-6)


def test_exponential_in_steps_does_not_depend_on_the_epoch():
    a, b = exponential(10.0, unit="step"), exponential(99.0, unit="step")
    assert rates(a, [0, 7, 8, 16]) == rates(b, [0, 7, 8, 16])
    np.testing.assert_allclose(rates(a, [7, 8]), [0.01, 0.01 * 0.96], rtol=1e-6)


# --- The papers' boundaries ----------------------------------------------------------------------


def of_experiment(experiment, examples):
    """Return the schedule of an experiment on a dataset of `images` images."""
    c = config.load_config(experiment, [])
    per_epoch = examples / c.data.batch_size
    schedule = schedules.create(steps_per_epoch=per_epoch, **c.schedule)
    return warmups.add_warmup(schedule, steps_per_epoch=per_epoch, **c.warmup), c


def test_resnet_on_cifar10_drops_at_32000_and_48000_and_ends_at_64000():
    """He et al. 2015, section 4.2."""
    schedule, c = of_experiment("resnet_cifar10:20", 50_000)
    found = rates(schedule, [0, 31_999, 32_000, 47_999, 48_000, 63_999])
    np.testing.assert_allclose(found, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-6)
    assert c.steps == 64_000


def test_googlenet_falls_by_4_percent_every_8_epochs():
    """Szegedy et al. 2014, section 6: between epochs 7 and 8, counted from 0."""
    schedule, c = of_experiment("googlenet_imagenet", 1_281_167)
    per_epoch = 1_281_167 / c.data.batch_size
    first = math.ceil(8 * per_epoch)
    found = rates(schedule, [0, math.ceil(7 * per_epoch), first - 1, first, 2 * first])
    rate = c.schedule.learning_rate
    np.testing.assert_allclose(found, [rate, rate, rate, 0.96 * rate, 0.96**2 * rate], rtol=1e-6)


@pytest.mark.parametrize("variant", ["110_v2", "164_v2", "1001_v2"])
def test_pre_activation_nets_warm_up_for_400_steps(variant):
    """He et al. 2016, appendix: 0.01, then 0.1."""
    schedule, _ = of_experiment(f"resnet_cifar10:{variant}", 50_000)
    found = rates(schedule, [0, 399, 400, 31_999, 32_000, 48_000])
    np.testing.assert_allclose(found, [0.01, 0.01, 0.1, 0.1, 0.01, 0.001], rtol=1e-6)


# --- Plateau --------------------------------------------------------------------------------------


def plateau(**knobs):
    defaults = dict(learning_rate=0.1, factor=0.1, drops=3, patience=2, improvement=0.0)
    return schedules.create("plateau", 10.0, **{**defaults, **knobs})


def fed(schedule, errors):
    """Return the rates before the first evaluation and after each."""
    memory, found = schedule.init(), []
    for error in (None, *errors):
        memory = memory if error is None else schedule.after_evaluation(memory, jnp.float32(error))
        memory = schedule.after_step(memory, jnp.float32(1.0))  # steps do not matter
        found.append(float(schedule.rate(memory, jnp.int32(7))))
    return found


def drops_by_hand(errors, learning_rate, factor, drops, patience, improvement):
    best, waited, dropped, found = float("inf"), 0, 0, [learning_rate]
    for error in errors:
        if error < best - improvement:
            best, waited = error, 0
        else:
            waited += 1
        if waited >= patience and dropped < drops:
            waited, dropped = 0, dropped + 1
        found.append(learning_rate * factor**dropped)
    return found


def test_a_plateau_drops_when_the_error_stops_improving():
    errors = [0.5, 0.4, 0.4, 0.4, 0.3, 0.3, 0.31]
    np.testing.assert_allclose(
        fed(plateau(), errors), [0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001], rtol=1e-6
    )


def test_a_plateau_drops_no_more_often_than_stated():
    """AlexNet, section 5: three times before the end."""
    found = fed(plateau(patience=1), [0.5] * 20)
    np.testing.assert_allclose(found[1:6], [0.1, 0.01, 0.001, 1e-4, 1e-4], rtol=1e-6)
    np.testing.assert_allclose(found[-1], 1e-4, rtol=1e-6)
    assert fed(plateau(drops=0, patience=1), [0.5] * 5) == [pytest.approx(0.1)] * 6


@pytest.mark.parametrize("seed", range(5))
def test_a_plateau_is_its_rule_in_a_loop(seed):
    rng = np.random.default_rng(seed)
    knobs = dict(learning_rate=0.5, factor=0.3, drops=int(rng.integers(0, 5)))
    knobs |= dict(patience=int(rng.integers(1, 4)), improvement=float(rng.choice([0.0, 0.015625])))
    errors = (np.sort(rng.integers(0, 64, 40))[::-1] + rng.integers(0, 8, 40)) / 128  # exact
    expected = drops_by_hand(errors, **knobs)
    assert len(set(expected)) > 1 or knobs["drops"] == 0
    np.testing.assert_allclose(fed(plateau(**knobs), errors), expected, rtol=1e-5)


# --- Warm-ups -------------------------------------------------------------------------------------


def error_warmup(**knobs):
    after = piecewise(10.0, (8.0,), "step", factors=(0.2, 0.02))  # 0.1, then 0.01
    defaults = dict(learning_rate=0.01, error=0.8, window=3)
    return warmups.add_warmup(after, "error", 10.0, **{**defaults, **knobs})


def stepped(schedule, errors):
    """Return the rate of each step."""
    memory, found = schedule.init(), []
    for step, error in enumerate(errors):
        found.append(float(schedule.rate(memory, jnp.int32(step))))
        memory = schedule.after_step(memory, jnp.float32(error))
    return found


def test_the_warm_up_ends_when_the_error_of_the_last_steps_falls_below():
    """ResNet-110 (He et al. 2015, section 4.2), with a window of 3."""
    errors = [0.9, 0.7, 0.85, 0.75, 0.75, 0.95, 0.9, 0.9, 0.9, 0.9]
    # The means of the last three are -, -, 0.817, 0.767: the warm-up ends for good after the fourth
    # step, and the drop at step 8 is not shifted.
    expected = [0.01] * 4 + [0.1] * 4 + [0.01] * 2
    np.testing.assert_allclose(stepped(error_warmup(), errors), expected, rtol=1e-6)


def test_the_warm_up_waits_for_a_whole_window_and_for_an_error_below():
    found = stepped(error_warmup(), [0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(found, [0.01, 0.01, 0.01, 0.1], rtol=1e-6)
    found = stepped(error_warmup(error=0.5), [0.5] * 8)  # as it is exact: not below
    np.testing.assert_allclose(found, [0.01] * 8, rtol=1e-6)


def test_resnet_110_warms_up_by_its_error():
    schedule, _ = of_experiment("resnet_cifar10:110", 50_000)
    found = stepped(schedule, [0.9] * 250 + [0.7] * 150)
    # the mean of the last 100 is 0.8 after 50 steps at 0.7, and below it after 51
    over = next(i for i, rate in enumerate(found) if rate > 0.05)
    assert 300 <= over <= 301 + 1  # float32 sums decide on the very edge
    np.testing.assert_allclose(found[:over], 0.01, rtol=1e-6)
    np.testing.assert_allclose(found[over:], 0.1, rtol=1e-6)


def test_a_plateau_goes_on_behind_a_warm_up():
    both = warmups.add_warmup(
        plateau(patience=1), "error", 10.0, learning_rate=1.0, error=0.8, window=1
    )
    assert both.needs_validation
    memory = both.init()
    for error in (0.5, 0.5):
        memory = both.after_evaluation(memory, jnp.float32(error))
    assert float(both.rate(memory, jnp.int32(0))) == 1.0
    memory = both.after_step(memory, jnp.float32(0.1))
    np.testing.assert_allclose(both.rate(memory, jnp.int32(1)), 0.01, rtol=1e-6)


def test_a_linear_warm_up_is_a_line():
    after = schedules.create("constant", 10.0, learning_rate=0.4)
    schedule = warmups.add_warmup(after, "linear", 10.0, start=0.25, length=2.0, unit="epoch")
    found = rates(schedule, [0, 5, 10, 19, 20, 1000])
    at = [0.25 + 0.75 * k / 20 for k in (0, 5, 10, 19, 20, 20)]
    np.testing.assert_allclose(found, [0.4 * a for a in at], rtol=1e-6)


# --- Rates of biases ---------------------------------------------------------------------------


def bias_rates(schedule, steps, state=None):
    state = schedule.init() if state is None else state
    return [float(schedule.bias_rate(state, jnp.int32(step))) for step in steps]


def test_biases_have_their_own_rate_only_if_they_have_factors():
    assert piecewise(10.0, (2.0, 4.0), "epoch").bias_rate is None
    own = piecewise(10.0, (2.0, 4.0), "epoch", bias_factors=(2.0, 2.0, 0.2))
    at = [0, 19, 20, 39, 40, 1000]
    np.testing.assert_allclose(bias_rates(own, at), [1.0, 1.0, 1.0, 1.0, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rates(own, at), [0.5, 0.5, 0.05, 0.05, 0.005, 0.005], rtol=1e-6)
    warm = warmups.add_warmup(own, "linear", 10.0, start=0.0, length=1.0, unit="epoch")
    np.testing.assert_allclose(bias_rates(warm, [0, 5, 10, 40]), [0.0, 0.5, 1.0, 0.1], rtol=1e-6)
    late = warmups.add_warmup(own, "error", 10.0, learning_rate=0.01, error=0.8, window=1)
    np.testing.assert_allclose(bias_rates(late, [40]), [0.01])
    state = late.after_step(late.init(), jnp.float32(0.1))
    np.testing.assert_allclose(bias_rates(late, [40], state), [0.1], rtol=1e-6)


def test_the_released_rates_of_one_weird_trick():
    """cuda-convnet2: dexp[0.01; 250; 4] for weights and dexp[0.02; 10; 2] for biases, 90 epochs."""
    recipe = resolve_settings(config.load_config("alexnet_imagenet:owt", [])).recipe
    schedule = recipe.make_rules(100.0).schedule
    at = [0, 2249, 2250, 4499, 4500, 6749, 6750, 8999]
    weights = [0.01 * 250 ** (-i / 3) for i in (0, 0, 1, 1, 2, 2, 3, 3)]
    np.testing.assert_allclose(rates(schedule, at), weights, rtol=1e-6)
    twice = 2 * np.array(bias_rates(schedule, at))
    np.testing.assert_allclose(twice, [0.02] * 4 + [0.002] * 4, rtol=1e-6)
    assert config.load_config("alexnet_imagenet:owt", []).optimizer.bias_rate == 2.0


# --- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "boundaries, unit, factors, message",
    [
        ((1.0,), "epoch", (1.0, 0.1, 0.01), "1 boundaries need 2 factors, not 3"),
        ((1.0, 2.0, 3.0), "epoch", (1.0, 0.1, 0.01), "3 boundaries need 4 factors"),
    ],
)
def test_a_piecewise_that_does_not_fit_is_refused(boundaries, unit, factors, message):
    with pytest.raises(ValueError, match=message):
        piecewise(10.0, boundaries, unit, factors)


def test_factors_of_biases_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 boundaries need 3 bias_factors, not 2"):
        piecewise(10.0, (1.0, 2.0), "epoch", bias_factors=(1.0, 0.1))
    own = piecewise(10.0, (1.0, 2.0), "epoch", bias_factors=(1.0, 1.0, 0.1))
    with pytest.raises(ValueError, match="bias_factors are not for the optimizer sdlm"):
        optimizers.create("sdlm", own, mu=0.02, samples=5)


def test_an_unknown_name_or_knob_is_refused():
    with pytest.raises(KeyError):
        schedules.create("cosine", 10.0)
    with pytest.raises(TypeError):
        schedules.create("constant", 10.0, rate=0.1)
