"""Configs and overrides of any value: they come back as they were, or are refused in one line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_archs import config as configs
from cnn_archs import knobs
from cnn_archs.config_keys import OLD_KEYS, flatten, rename_old_keys, split_override
from cnn_archs.errors import ConfigError

# Letters of values, of syntax and of none; the whole of Unicode takes seconds to build.
texts = st.text("ab_.019-+e=:,()[]{}'\"\\%\n\x1b\u2028 #éж😀", max_size=12)
numbers = st.integers(-(10**6), 10**6)
floats = st.floats(allow_nan=False, allow_infinity=False, width=32)
RAW: dict[type, st.SearchStrategy[Any]] = {
    int: numbers,
    float: floats,
    str: texts,
    bool: st.booleans(),
}


DEFAULT = configs.load_config("lenet5_digits", [])
LEAVES = flatten(DEFAULT.to_dict())
KINDS = flatten(configs.knob_kinds(DEFAULT.to_dict()))


def value_like(present: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of the type of `present`, in its range or not."""
    if isinstance(present, tuple):
        some = value_like(present[0]) if present else floats
        return st.lists(some, max_size=4).map(tuple)
    return st.just(present) | RAW[type(present)]


@st.composite
def pairs(draw: Any) -> tuple[str, Any]:
    """Draw a key that is not a name of a choice, and a value of its type."""
    key = draw(st.sampled_from(sorted(k for k in LEAVES if not k.endswith(".name"))))
    return key, draw(value_like(LEAVES[key]))


def is_allowed(key: str, value: Any) -> bool:
    try:
        return knobs.check_value(key, value, KINDS[key]) == value
    except ConfigError:
        return False


@given(pair=pairs())
def test_a_value_is_set_and_no_other_key_is_or_it_is_refused_in_one_line(pair):
    key, value = pair
    config = configs.load_config("lenet5_digits", [])
    try:
        configs.set_override(config, key, str(value))
    except ConfigError as e:
        assert str(e).startswith(f"--config.{key}=") and len(str(e).splitlines()) == 1
        assert not is_allowed(key, value)
        assert flatten(config.to_dict()) == LEAVES
    else:
        assert is_allowed(key, value)
        found = flatten(config.to_dict())
        assert found == {**LEAVES, key: value}
        assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in LEAVES.items()}


@given(key=st.sampled_from(sorted(LEAVES)), text=texts)
def test_any_text_is_a_value_or_refused_in_one_line_that_names_the_key(key, text):
    try:
        config = configs.load_config("lenet5_digits", [f"{key}={text}"])
    except ConfigError as e:
        assert key.split(".")[-1] in str(e) or key.split(".")[0] in str(e)
        assert len(str(e).splitlines()) == 1
    else:
        assert type(flatten(config.to_dict())[key]) is type(LEAVES[key])


@given(text=texts)
def test_any_override_is_split_in_two_or_refused_in_one_line(text):
    try:
        key, value = split_override(text)
    except ConfigError as e:
        assert len(str(e).splitlines()) == 1
    else:
        assert f"{key}={value}" == text and key


@given(some=st.lists(pairs(), max_size=4))
def test_a_config_is_read_from_its_file_as_it_was_written(tmp_path_factory, some):
    path = tmp_path_factory.getbasetemp() / "config.json"
    config = configs.load_config("lenet5_digits", [])
    for key, value in some:
        if is_allowed(key, value):
            configs.set_override(config, key, str(value))
    path.write_text(json.dumps(configs.to_plain_dict(config)))
    assert configs.read_config(path).to_json(sort_keys=True) == config.to_json(sort_keys=True)


OF_SECTIONS = sorted(old for old, new in OLD_KEYS.items() if new)


@given(olds=st.sets(st.sampled_from(OF_SECTIONS)))
def test_any_old_keys_are_read_as_the_new_ones(olds):
    new = configs.to_plain_dict(configs.load_config("lenet5_digits", []))
    old = json.loads(json.dumps(new))
    for name in olds:
        section, _, leaf = name.rpartition(".")
        at = old[section] if section else old
        at[leaf] = at.pop(OLD_KEYS[name].rpartition(".")[2])
    assert (old == new) == (not olds)
    assert rename_old_keys(old) == new
    assert configs.complete_config(old).to_json(sort_keys=True) == json.dumps(new, sort_keys=True)


@pytest.mark.parametrize("kind", [int, float, bool])
def test_there_is_a_key_of_each_type(kind):
    assert any(type(value) is kind for value in LEAVES.values())
