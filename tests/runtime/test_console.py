"""Output is printable whatever names it has, and survives streams that are closed or full."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_archs import cli, errors
from cnn_archs.commands.shared import csv_text

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = (sys.executable, str(ROOT / "launch.py"))


@pytest.mark.parametrize(
    "name, shown",
    [
        ("Würfel 3 µm – 東京", "Würfel 3 µm – 東京"),
        ("a\x1b[2J\x07", "a\\x1b[2J\\x07"),
        ("a\nerror: b\r", "a\\nerror: b\\r"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        (os.fsdecode(b"\xff.png"), "\\udcff.png"),
        (b"\xc3\xa9".decode("ascii", "surrogateescape"), "é"),  # as a C locale reads it
    ],
)
def test_a_name_is_one_line_of_what_can_be_printed(name, shown):
    assert errors.escaped(name) == shown


def test_a_csv_has_one_row_per_name_and_no_formula():
    rows = [("id", "label"), ("a,b", '"c"'), ("=1+1", "@x"), ("-5", "+x"), ("a\nb", "\x1b")]
    assert csv_text(rows).split("\n") == [
        "id,label",
        '"a,b","""c"""',
        "'=1+1,'@x",
        "-5,'+x",
        "a\\nb,\\x1b",
    ]


def test_a_full_stdout_is_one_line_and_exit_3(monkeypatch, capsys, tmp_path):
    for command in (["--help"], ["report", str(result(tmp_path)), f"-o{tmp_path / 'x.html'}"]):
        with open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            assert cli.main(command) == 3
            full.write("later")  # what Python holds at the end is lost, and no error
        error = "error: cannot write to the standard output: No space left on device\n"
        assert capsys.readouterr().err == error


def result(folder: Path) -> Path:
    """A result file, of which a report is made in no time."""
    path = folder / "result.json"
    path.write_text(
        json.dumps(
            dict(name="lenet5", dataset="mnist", protocol="single", seeds=[0])
            | dict(test=dict(top1_error=[0.01], top5_error=[0.0], loss=[1.0], examples=9))
        )
    )
    return path


@pytest.mark.parametrize("redirection", ["| head -1", ">&-", ">/dev/full", "2>&- >/dev/full"])
def test_no_redirection_gives_a_traceback(redirection, tmp_path):
    line = f"'{LAUNCH[0]}' '{LAUNCH[1]}' --help {redirection}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert done.returncode == (3 if "full" in redirection else 0)


def test_a_closed_stream_is_not_the_next_file_that_is_opened(tmp_path):
    """Otherwise what a library writes on stdout or stderr would be written into that file."""
    program = (
        "import os, sys\nfrom cnn_archs.runtime import console\nconsole.prepare_streams()\n"
        "file = open(sys.argv[1], 'w')\nos.write(1, b'noise')\nos.write(2, b'noise')\n"
        "print('noise')\nprint('noise', file=sys.stderr)\nfile.write('data')\n"
    )
    path = tmp_path / "file"
    command = ["bash", "-c", '"$@" 0<&- >&- 2>&-', "-", sys.executable, "-c", program, path]
    subprocess.run(command, check=True)
    assert path.read_text() == "data"


def test_under_an_ascii_locale_a_page_is_whole_and_utf_8(tmp_path):
    folder = tmp_path / "Läufe"
    folder.mkdir()
    output = folder / "report.html"
    output.write_text("before")
    command = (*LAUNCH, "report", result(folder), "-o", output)
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env={**os.environ, **locale}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{output}: 1 network\n"
    assert "Läufe<" in output.read_text("utf-8") and "±" in output.read_text("utf-8")


# It prints a line on each stream, and says by its exit code whether a file got a stream's number.
PROGRAM = """
import sys
from cnn_archs.errors import UserError
from cnn_archs.runtime.console import print_result, print_status
from cnn_archs.runtime.process import run_process
def work():
    with open("/dev/null") as file:
        assert file.fileno() > 2
    print_status("status")
    try:
        print_result("result \\u00df")
    except BrokenPipeError:
        return 0
    except UserError as e:
        print_status(f"error: {e}")
        return e.code
    return 0
run_process(work)
"""
CASES = {  # redirection -> (exit code, stdout, stderr)
    "": (0, "result ß\n", "status\n"),
    "2>&-": (0, "result ß\n", ""),
    "2>/dev/full": (0, "result ß\n", ""),
    "<&- >&- 2>&-": (0, "", ""),
    ">&-": (0, "", "status\n"),
    "| true": (0, "", "status\n"),
    ">/dev/full": (
        3,
        "",
        "status\nerror: cannot write to the standard output: No space left on device\n",
    ),
}


@pytest.mark.parametrize("redirection", CASES)
def test_a_stream_that_cannot_be_written_is_done_without(redirection):
    shell = f'exec 3>&2; "$1" -c "$2" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, PROGRAM],
        capture_output=True,
        encoding="utf-8",
        env={
            "PYTHONPATH": ":".join(sys.path),
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        },
    )
    assert (done.returncode, done.stdout, done.stderr) == CASES[redirection]
