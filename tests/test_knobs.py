"""Every knob has a range, and a value outside of it is refused by one line that names all three."""

import functools
import typing

import pytest

from cnn_archs import cli, config, knobs, models
from cnn_archs.config_keys import flatten
from cnn_archs.errors import ConfigError

BASE = config.base_module()
# The networks that have a class of their own; the others differ in defaults.
NETWORKS = {str(models.module_fields(name)): name for name in models.MODELS}.values()
CHOICES = [
    *((kind, name) for kind, names in BASE.CHOICES.items() for name in names),
    *(("model", name) for name in NETWORKS),
]
# These numbers may be anything finite, and these texts anything.
ANY_NUMBER = {"augment.cval", "standardize.rescale", "loss.j"}
ANY_TEXT = {"data.name", "data.data_dir", "warm_start.workdir", "frozen", "warm_start.layers"}


def all_kinds():
    """Return {key: (override that chooses its section or "", kind)} of all knobs there are."""
    found = {key: ("", kind) for key, kind in flatten(BASE.KINDS).items()}
    for section, name in CHOICES:
        of = models.kinds(name) if section == "model" else BASE.KINDS_OF_CHOICES[section][name]
        for key, kind in flatten(of, f"{section}.").items():
            found[f"{key} of {name}"] = (f"{section}.name={name}", kind)
    return found


ALL = all_kinds()


@functools.cache
def with_choice(choice):
    """Return a config with the override `choice`; its defaults are all in their ranges."""
    return config.load_config("lenet5_digits", [choice] if choice else [])


def outside(kind):
    """Return texts of values that are not of `kind`, one at least for each limit."""
    kind, limits = knobs.split_limits(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is str:
        return []
    if origin is tuple and inner[-1] is not Ellipsis:
        one = inside(inner[0])
        longer = [f"({','.join([one] * n)})" for n in (len(inner) - 1, len(inner) + 1) if n]
        each = [f"({','.join([bad, *map(inside, inner[1:])])})" for bad in outside(inner[0])]
        backwards = {"different": "(1.0,1.0)", "in increasing order": "(1,0)"}
        return [*longer, *each, *(backwards[limit] for limit in limits)]
    if origin is tuple:
        return [f"({bad},)" for bad in outside(inner[0])]
    if origin in (bool, typing.Literal, typing.Union) or kind is bool:
        return ["none of these", "-7"]
    bad = ["a word", "None", "[]"]
    bad += ["1.5", "1e3"] if kind is int else ["nan", "1e999", "1e39", "-1e39", "1j"]
    for limit in limits:
        words = limit.split()
        numbers = [float(w) for w in words if w.lstrip("-").replace(".", "").isdigit()]
        below = {"at": -1, "more": 0, "from": -1}.get(words[0])
        above = {"less": 0, "from": 1}.get(words[0], 1 if limit.startswith("at most") else None)
        if below is not None and not limit.startswith("at most"):
            bad.append(repr(int(numbers[0]) + below))
        if above is not None:
            bad.append(repr(int(numbers[-1]) + above))
        if limit == "odd":
            bad.append("4")
    return bad


def inside(kind):
    kind, limits = knobs.split_limits(kind)
    if typing.get_origin(kind) is typing.Literal:
        return str(typing.get_args(kind)[0])
    if any(limit.startswith(("less than", "more than 0")) for limit in limits):
        return "0.5"
    return "1" if kind is int else "1.0"


def test_every_number_has_a_range_or_stands_in_the_list():
    assert len(ALL) > 200
    for name, (_, kind) in ALL.items():
        key = name.partition(" of ")[0]
        bare, limits = knobs.split_limits(kind)
        if bare is str:
            assert key in ANY_TEXT, name
        if bare in (int, float):
            assert bool(limits) != (key in ANY_NUMBER), name


def test_a_value_outside_of_its_range_is_refused_for_every_knob():
    for name, (choice, kind) in ALL.items():
        key = name.partition(" of ")[0]
        loaded = with_choice(choice)
        for text in outside(kind):
            with pytest.raises(ConfigError) as e:
                config.set_override(loaded, key, text)
            expected = f"--config.{key}={knobs.shorten(text)}: must be {knobs.describe(kind)}"
            assert str(e.value) == expected, name


def test_the_ends_of_ranges_are_taken():
    for override in ("seed=4294967295", "optimizer.momentum=0", "loss.smoothing=0.99", "keep=1"):
        config.load_config("lenet5_digits", [override])


@pytest.mark.parametrize(
    "override, message",
    [
        ("optimizer.momentum=-5", "momentum=-5: must be a number, at least 0 and less than 1"),
        ("schedule.learning_rate=1e999", "learning_rate=1e999: must be a number, at least 0"),
        ("data.batch_size=100000000000", "must be a whole number, from 1 to 1000000"),
        ("data.batch_size=1e11", "batch_size=1e11: must be a whole number, from 1 to 1000000"),
        ("data.micro_batch=-4", "micro_batch=-4: must be a whole number, from 0"),
        ("data.mean=any text", "data.mean=any text: must be none, pixel or channel"),
        ("data.pixel_range=0,0", "must be 2 values (a,b), each a number, different"),
        ("data.image_shape=(8,8)", "image_shape=(8,8): must be 3 values (a,b,c)"),
        ("data.image_shape=(8,0,1)", "image_shape=(8,0,1): must be 3 values (a,b,c)"),
        ("model.widths=(6,)", "model.widths=(6,): must be 4 values (a,b,c,d), each a whole"),
        ("mesh.data=0", "mesh.data=0: must be -1 or a whole number, from 1"),
        ("profile=20,10", "must be 2 values (a,b), each a whole number"),
        ("schedule.boundaries=" + "(" * 900, "must be values (a,b,...), each a number"),
        ("steps=" + "9" * 5000, "steps=999"),
        ("data.mean=\x1b[2J\nnone", r"data.mean='\x1b[2J\nnone': must be none"),
        ("seed=4294967296", "seed=4294967296: must be a whole number, from 0 to 4294967295"),
        ("seeds=0", "seeds=0: must be a whole number, from 1"),
    ],
)
def test_a_message_names_key_value_and_range(override, message, capsys):
    assert cli.main(["train", f"--config.{override}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error and len(error) < 300, error


def test_the_last_seed_is_in_the_range_too():
    config.load_config("lenet5_digits", ["seed=4294967294", "seeds=2"])
    with pytest.raises(ConfigError, match="the last of 3 seeds must be at most 4294967295"):
        config.load_config("lenet5_digits", ["seed=4294967294", "seeds=3"])


def test_numbers_become_what_the_knob_is():
    c = config.load_config("lenet5_digits", ["epochs=3", "data.pixel_range=[0,1]", "mirror=True"])
    assert (c.epochs, c.data.pixel_range, c.mirror) == (3.0, (0.0, 1.0), True)
    assert isinstance(c.epochs, float) and isinstance(c.data.pixel_range[0], float)
    c = config.load_config("lenet5_digits", ["model.name=mlp", "model.hidden=()", "model.hidden=8"])
    assert c.model.hidden == (8,)


def test_an_annotation_that_is_none_of_the_limits_is_found():
    with pytest.raises(AssertionError, match="'above 3' is not one of LIMITS"):
        knobs.check_value("a", 4, typing.Annotated[int, "above 3"])
