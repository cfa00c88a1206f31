"""Run one case of `device.py` in a process of its own, within the time that is left."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from device_cases import Case

from cnn_archs.errors import Stopped
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.signals import ENDS_WITH_STDIN

HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 300.0  # of one measurement, compilation included
SAVING_SECONDS = 60.0  # for a training to save after SIGTERM
POLL_SECONDS = 0.1


class Budget:
    """The time of one call, which ends earlier if `stop` becomes true."""

    def __init__(self, seconds: float, stop: object):
        self.end, self.stop = time.monotonic() + seconds, stop

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def is_over(self) -> bool:
        return bool(self.stop) or self.left() <= 0


def run_case(case: Case, runs: Path, budget: Budget, torch_python: str) -> dict[str, Any]:
    """Run a case and return its result, {"error": ...}, or {"stopped": ...} if the time is over.

    runs: the folder of all trainings. A training that is stopped goes on at the next call.
    """
    if case.program:
        return run_measurement(case, budget, torch_python)
    return run_training(case, runs / case.name.replace(" ", "_").replace(",", ""), budget)


def run_measurement(case: Case, budget: Budget, torch_python: str) -> dict[str, Any]:
    """Run the program of a measurement and return the JSON object in its last line."""
    python = torch_python if case.program == "device_torch.py" else sys.executable
    command = [python, str(HERE / case.program), json.dumps(case.settings)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        limit = time.monotonic() + LIMIT_SECONDS
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            while process.poll() is None:
                if budget.is_over():
                    return {"stopped": ""}
                if time.monotonic() > limit:
                    return {"error": f"took longer than {LIMIT_SECONDS:.0f} s"}
                time.sleep(POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            return {"error": last_line(err) or f"exit code {process.returncode}"}
        return json.loads(last_line(out))


def run_training(case: Case, folder: Path, budget: Budget) -> dict[str, Any]:
    """Train or resume a case in `folder`, and return its result.json with its speed."""
    flags = [f"--config.{override}" for override in case.settings["overrides"]]
    command = [str(HERE.parent / "launch.py"), "train", f"--config={case.settings['config']}"]
    command += [f"--workdir={folder}", *flags]
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,  # when this process is killed, its end is closed
            stdout=subprocess.DEVNULL,
            stderr=err,
            env={**os.environ, ENDS_WITH_STDIN: "1"},
            start_new_session=True,
        )
        with process:
            wait_or_stop(process, budget)
        if process.returncode in (Stopped.code, -9):
            return {"stopped": last_line(err).removeprefix("error: ").partition(";")[0]}
        if process.returncode:
            return {"error": last_line(err)}
    result = RunDir(folder).result()
    device = result["device"].partition(" x ")[2]
    return {
        "images_per_second": result["images_per_second"],
        "device": device,
        "params": result["params"],
        "flops_per_image": 6 * result["macs"],
        "result": result,
    }


def wait_or_stop(process: "subprocess.Popen[bytes]", budget: Budget) -> None:
    """Wait for a training to end; when the time is over, let it save, and kill it at last."""
    while process.poll() is None:
        if budget.is_over():
            process.terminate()
            try:
                process.wait(SAVING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            return
        time.sleep(POLL_SECONDS)


def last_line(file: IO[bytes]) -> str:
    """Return the last line of a file that is not empty, or ""."""
    file.seek(0)
    lines: Sequence[str] = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
