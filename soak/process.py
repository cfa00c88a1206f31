"""Start one command, cause a fault while it runs, and judge how it ended. Linux only: reads /proc.

Time is counted in processor time of the command and its descendants, so that a fault comes at the
same place of the work on a busy machine and on an idle one.
"""

import ctypes
import dataclasses
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from soak.schedule import During, KilledWorker, Moment, SecondStart, Signals, Stall

ROOT = Path(__file__).resolve().parent.parent
IDLE_SECONDS = 90.0  # a command that has worked less than IDLE_WORK for so long hangs
IDLE_WORK = 0.05  # seconds of processor time
LONGEST = 1800.0  # seconds that any command may take
PATIENCE = 10.0  # seconds in which what a command has started must end after it
TICKS = os.sysconf("SC_CLK_TCK")
NOT_FOR_USERS = re.compile(  # what Python and its libraries print of errors that nobody handled
    r"Traceback|^\w*(Error|Exception)\b|Exception ignored|never retrieved|Warning:|Fatal Python"
    r"|Segmentation fault|core dumped|^\s+File \"|terminate called",
    re.MULTILINE,
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """Hold how a command ended. code: negative for a signal, as in subprocess.

    hit: whether the fault came before the end. work: seconds of processor time. left: the number of
    descendants that outlived it by more than PATIENCE.
    """

    code: int
    stdout: str
    stderr: str
    hit: bool
    work: float
    hung: bool = False
    left: int = 0
    second: "Ended | None" = None

    def errors(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("error: ")]

    def refused(self) -> bool:
        """Return whether it ended by an error for the user, other than a stop."""
        return self.code in (1, 2, 3, 4)


def complaints(ended: Ended, allowed: Sequence[int]) -> list[str]:
    """Return what is wrong with an end, whatever the fault was. allowed: the exit codes."""
    found = []
    if ended.hung:
        found.append("it hangs")
    elif ended.code not in allowed:
        found.append(f"exit code {ended.code}, not one of {sorted(allowed)}")
    for where, text in (("stdout", ended.stdout), ("stderr", ended.stderr)):
        if match := NOT_FOR_USERS.search(text):
            line = text[match.start() :].splitlines()[0]
            found.append(f"{where} has: {line:.120}")
    errors = ended.errors()
    if ended.code in (1, 2, 3, 4, 75):
        last = (ended.stderr.splitlines() or [""])[-1]
        if len(errors) != 1 or last != errors[0]:
            found.append(f"exit code {ended.code}, {len(errors)} error lines, last: {last:.120}")
    if ended.left:
        found.append(f"{ended.left} processes live on")
    if ended.second:
        found += [f"second start: {c}" for c in complaints(ended.second, (2,))]
    return found


LIBRARY = ctypes.CDLL(None)


def drop_root() -> None:
    """Let the permissions of files hold for root as well, in the program that is executed next."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        LIBRARY.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; without effect unless root


class Running:
    """A command that runs. output: a path for its stdout and stderr, with suffixes added."""

    def __init__(
        self,
        arguments: Sequence[str],
        output: Path,
        file_limit: int = 0,
        full_stderr: bool = False,
    ):
        def before_exec() -> None:
            LIBRARY.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: when the soak ends
            drop_root()
            if file_limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

        self.outputs = [output.with_suffix(f".{name}") for name in ("stdout", "stderr")]
        files = [open(p, "wb") for p in self.outputs]  # noqa: SIM115 (closed below)
        full = open("/dev/full", "wb") if full_stderr else None  # noqa: SIM115
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        self.popen = subprocess.Popen(
            [sys.executable, str(ROOT / "launch.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=files[0],
            stderr=full or files[1],
            env={"JAX_PLATFORMS": "cpu", **os.environ, "PYTHONPATH": path},
            preexec_fn=before_exec,
        )
        for file in (*files, full):
            if file:
                file.close()
        self.started = time.monotonic()
        self.known: dict[int, str] = {}  # descendants that were seen: their starting times
        self.work = 0.0
        self.worked = self.started  # when it was last seen to work

    def poll(self) -> int | None:
        """Note the descendants and the processor time; return the exit code if it has ended."""
        total = 0.0
        for pid in [self.popen.pid, *descendants(self.popen.pid)]:
            if fields := stat(pid):
                total += sum(map(int, fields[11:15])) / TICKS
                if pid != self.popen.pid:
                    self.known[pid] = fields[19]
        if total > self.work + IDLE_WORK:
            self.work, self.worked = total, time.monotonic()
        return self.popen.poll()

    def wait_for(self, happened: Callable[[], bool]) -> bool:
        """Wait until `happened()`; return False if the command ends or hangs before."""
        while self.poll() is None:
            if happened():
                return True
            if self.hangs():
                return False
            time.sleep(0.01)
        return False

    def go_on(self) -> None:
        """Send SIGCONT after a SIGSTOP, and forget the time that the command stood still."""
        self.popen.send_signal(signal.SIGCONT)
        self.worked = time.monotonic()

    def hangs(self) -> bool:
        now = time.monotonic()
        return now - self.worked > IDLE_SECONDS or now - self.started > LONGEST

    def end(self, hit: bool, second: Ended | None = None) -> Ended:
        """Wait for the end, kill what does not end, and return how it ended."""
        self.wait_for(lambda: False)
        hung = self.popen.poll() is None
        if hung:
            self.popen.kill()
        code = self.popen.wait()
        deadline = time.monotonic() + PATIENCE
        while (left := self.survivors()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        out, err = (p.read_text(errors="replace") for p in self.outputs)
        return Ended(code, out, err, hit, self.work, hung, len(left), second)

    def survivors(self) -> list[int]:
        """Return the descendants that still run."""
        found = []
        for pid, started in self.known.items():
            fields = stat(pid)
            if fields and fields[19] == started and fields[0] != "Z":
                found.append(pid)
        return found


def stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def descendants(pid: int) -> list[int]:
    """Return the children of a process, theirs, and so on."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *descendants(child)]
    except OSError:
        pass
    return found


def cause(fault: During, running: Running) -> bool:
    """Cause a fault now; return whether there was something to cause it to.

    Of a second start only the first half is done: the command stands still.
    """
    match fault:
        case Signals(names, _):
            for name in names:
                running.popen.send_signal(getattr(signal, name))
        case Stall(seconds, _):
            running.popen.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            running.go_on()
        case KilledWorker(pick, _):
            workers = running.survivors()
            if not workers:
                return False
            os.kill(workers[int(pick * len(workers))], signal.SIGKILL)
        case SecondStart():
            running.popen.send_signal(signal.SIGSTOP)
    return True


def reached(
    moment: Moment, running: Running, runs: Callable[[], list[Path]], work: float
) -> Callable[[], bool]:
    """Return a function that tells whether a moment has come.

    runs: lists the folders of the runs. work: processor time of an undisturbed command.
    """
    nth = moment.nth if moment.on == "save" else 1
    before: list[set[tuple[Path, str]]] = []
    since: set[tuple[Path, str]] = set()

    def happened() -> bool:
        if running.work < moment.share * work:
            return False
        pattern = {"clock": "", "save": "checkpoints/*", "result": "result.json"}[moment.on]
        if not pattern:
            return True
        # A step is first a folder of another name, of which the number is the beginning.
        now = {(run, p.name.partition(".")[0]) for run in runs() for p in run.glob(pattern)}
        if not before:
            before.append(now)
        since.update(now - before[0])  # several may have come since the last look
        return len(since) >= nth

    return happened
