"""Any words as a command line: they are understood, or refused in one line that tells the way."""

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_archs import cli
from cnn_archs.errors import ConfigError

PARSER = cli.build_parser()
(SUBPARSERS,) = [a for a in PARSER._actions if isinstance(a, argparse._SubParsersAction)]
COMMANDS = sorted(SUBPARSERS.choices)
FLAGS = sorted(
    {flag for p in SUBPARSERS.choices.values() for a in p._actions for flag in a.option_strings}
    - {"-h", "--help"}
)
texts = st.text("a-=.1,{}'\"\\\n\x1b é😀", max_size=8)


@st.composite
def words(draw: Any) -> list[str]:
    """Draw words of a command line, some of which are right."""
    flag = st.sampled_from(FLAGS) | st.sampled_from(["--config.", "--compare.", "--slurm.", "--"])
    value = texts | st.sampled_from(["0", "-1", "1e999", "nan", "true", "epochs=2", "/tmp"])
    word = st.one_of(flag, value, st.tuples(flag, value).map("=".join), texts.map("--".__add__))
    command = draw(st.sampled_from(COMMANDS) | texts)
    return [command, *draw(st.lists(word, max_size=5))]


@given(argv=words())
def test_any_words_are_understood_or_refused_in_one_line(argv):
    try:
        arguments, overrides = cli.parse(argv)
    except ConfigError as e:
        assert len(str(e).splitlines()) == 1 and e.code == 2
    else:
        assert arguments.command == argv[0] and callable(arguments.run)
        assert all(any(override in word for word in argv) for override in overrides)


@given(argv=words(), name=texts)
def test_no_flag_is_ignored(argv, name):
    """A flag that no command has is never passed over, whatever stands behind it."""
    rest = [word for word in argv[1:] if word != "--"]
    with pytest.raises(ConfigError):
        cli.parse([COMMANDS[0], f"--no{name}", *rest])
