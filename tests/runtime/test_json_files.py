"""JSON is read with one-line errors, and what is sound of a damaged log is kept."""

import json

import pytest

from cnn_archs.errors import DataError
from cnn_archs.runtime import json_files
from cnn_archs.runtime.json_files import NUMBER, read_json, read_json_lines

SHAPE = {"a": int, "b?": [NUMBER], "c?": {"d": str, ...: [{"e": bool}]}}


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"[1]",
            b"null",
            b"3",
            b'{"a": 1',
            b'{"a": "\xff"}',
            b"\0" * 1000,
            b"PK\x03\x04\x80",
        ),
        *(b'{"a": NaN}', b'{"a": 1e999}', b'{"a": -Infinity}', b'{"a": ' + b"9" * 5000 + b"}"),
        *(b'{"a": ' + b"[" * 100_000, b"{}", b'{"a": true}', b'{"a": "1"}', b'{"a": 1.0}'),
        *(b'{"a": 1, "b": 2}', b'{"a": 1, "b": [2, "x"]}', b'{"a": 1, "b": null}'),
        *(b'{"a": 1, "c": {}}', b'{"a": 1, "c": {"d": "", "x": [{}]}}'),
    ],
)
def test_what_is_no_object_of_the_shape_is_one_line_that_names_the_file(content, tmp_path):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as e:
        read_json(path, SHAPE)
    assert str(e.value).startswith(f"{path} is damaged: ") and "\n" not in str(e.value)


def test_what_has_the_shape_is_read_as_it_is(tmp_path):
    path = tmp_path / "result.json"
    tree = {"a": -1, "b": [1, 2.5], "c": {"d": "x", "y": [{"e": True, "f": None}]}, "z": [True]}
    path.write_text(json.dumps(tree))
    assert read_json(path, SHAPE) == tree


def test_the_message_names_the_place(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"a": 1, "c": {"d": "x", "y": [{"e": true}, {"e": 7}]}}')
    with pytest.raises(DataError, match=r"is damaged: c\.y\[1\]\.e is 7$"):
        read_json(path, SHAPE)


def test_a_file_that_is_missing_or_too_large_is_one_line_too(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="^cannot read .*none.json: No such file or directory$"):
        read_json(tmp_path / "none.json")
    monkeypatch.setattr(json_files, "MOST_BYTES", 2**20)
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(2**21)
    with pytest.raises(DataError, match="large.json is damaged: .* it has more than 1 MB$"):
        read_json(tmp_path / "large.json")


@pytest.mark.parametrize(
    "lost",
    [b'{"a": 3', b"\0\0\0", b'{"b": "\xc3', b"[1]", b"", b'{"a": "3"}', b'{"a": NaN}', b"{}"],
)
def test_the_sound_lines_of_a_log_are_kept_and_the_loss_is_said_once(lost, tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    assert read_json_lines(path, {"a": int}) == []
    sound = [{"a": 1, "x": 2.5}, {"a": 2}]
    first, second = (json.dumps(line).encode() + b"\n" for line in sound)
    path.write_bytes(first + lost + b"\n" + second)
    assert read_json_lines(path, {"a": int}) == sound
    where = f"{path}: 1 of 3 lines are damaged or cut off (line 2) and are left out\n"
    assert capsys.readouterr().err == where
    path.write_bytes(first + second + (lost or b"\x01"))  # as a process that was killed leaves it
    assert read_json_lines(path, {"a": int}) == sound
    assert capsys.readouterr().err == where.replace("line 2", "line 3")
    path.write_bytes(first + second)
    assert read_json_lines(path, {"a": int}) == sound and capsys.readouterr().err == ""


def test_a_line_without_an_end_takes_no_memory_and_those_after_it_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MOST_BYTES_OF_A_LINE", 100)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b" " * 999 + b'{"a": 2}\n{"a": 3}\n')
    assert read_json_lines(path, {"a": int}) == [{"a": 1}, {"a": 3}]
