"""A standard stream that is closed or full changes no work and no exit code."""

import subprocess
import sys

import pytest

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
    "": (0, "result \\xdf\n", "status\n"),
    "2>&-": (0, "result \\xdf\n", ""),
    "2>/dev/full": (0, "result \\xdf\n", ""),
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
        text=True,
        env={
            "PYTHONPATH": ":".join(sys.path),
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        },
    )
    assert (done.returncode, done.stdout, done.stderr) == CASES[redirection]
