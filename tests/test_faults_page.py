"""docs/faults.md names tests that exist and exit codes that there are."""

import ast
import re
from pathlib import Path

import pytest

from cnn_archs import cli, errors

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!fault|exit|---)", line)]


def codes(kind: type[errors.UserError] = errors.UserError) -> set[int]:
    """Return the exit codes of an error and of all its subclasses."""
    return {kind.code}.union(*(codes(sub) for sub in kind.__subclasses__()))


@pytest.mark.parametrize("file, name", NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(file, name):
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_has_a_test_and_names_nothing_else():
    rows = [row for row in ROWS if row.count("|") == 5]
    assert len(rows) > 40
    assert [
        row for row in rows if not re.search(r"`tests/\S+::\w+`[^`]*\|$|make soak` \|$", row)
    ] == []
    assert PAGE.count("`tests/") - PAGE.count("`tests/test_faults_page.py`") == sum(
        PAGE.count(f"`{file}::{name}`") for file, name in NAMED
    )


def test_every_exit_code_is_there_and_no_other():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == codes() | {0}
    assert set(cli.EXIT_STATUS) == listed
    of_rows = {
        int(c)
        for row in ROWS
        if row.count("|") == 5
        for c in row.split("|")[3].split(", ")
        if c.strip().isdigit()
    }
    assert codes() <= of_rows
