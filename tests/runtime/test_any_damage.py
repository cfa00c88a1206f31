"""A log of JSON lines with damage anywhere: what is read was written, or it is one line."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cnn_archs.errors import DataError
from cnn_archs.runtime.json_files import read_json_lines

texts = st.text('ab"\\{}:,\n\r\0\u2028éж😀', max_size=8)
numbers = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False))
values = st.one_of(numbers, texts, st.booleans())
lines = st.lists(st.dictionaries(texts, values, max_size=3), max_size=6)


def encode(written):
    return b"".join(json.dumps(line).encode() + b"\n" for line in written)


@given(written=lines)
def test_lines_are_read_as_they_were_written(tmp_path_factory, written):
    path = tmp_path_factory.getbasetemp() / "sound.jsonl"
    path.write_bytes(encode(written))
    assert read_json_lines(path, {}) == written


@given(written=lines, data=st.data())
def test_a_log_that_was_cut_anywhere_has_the_whole_lines(tmp_path_factory, written, data):
    """A process may be killed, and a disk full, in the middle of a line."""
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    whole = encode(written)
    at = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:at])
    found = read_json_lines(path, {})
    kept = whole[:at].count(b"\n")
    assert found in (written[:kept], written[: kept + 1])  # of the last only the end is lost


@given(written=lines.filter(len), data=st.data())
def test_damage_is_never_read_as_something_else(tmp_path_factory, written, data):
    """Bytes that no text has are put anywhere: the other lines are read, or the file is named."""
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl"
    whole = encode(written)
    at = data.draw(st.integers(0, len(whole) - 1))
    garbage = data.draw(st.binary(min_size=1, max_size=20)) + b"\xff"
    path.write_bytes(whole[:at] + garbage + whole[at + data.draw(st.integers(0, 20)) :])
    try:
        found = read_json_lines(path, {})
    except DataError as e:
        assert str(path) in str(e) and "\n" not in str(e)
    else:
        rest = iter(written)
        assert all(line in rest for line in found)
