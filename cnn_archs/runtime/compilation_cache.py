"""Where commands keep the programs that they compile, so that the next one need not do it again."""

import hashlib
import os
import platform
from pathlib import Path

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
MAX_CACHE_BYTES = 5 * 2**30  # bytes, beyond which jax removes what was used longest ago
MIN_COMPILE_SECONDS = 0.1  # that a program takes to compile at least, to be kept


def enable_cache() -> None:
    """Has jax, which is not imported yet, keep programs in `folder`; in child processes as well.

    Where JAX_COMPILATION_CACHE_DIR is set, it is as that says: empty, none are kept. Neither are
    they where the folder cannot be written.
    """
    if CACHE_VARIABLE not in os.environ:
        try:
            os.environ[CACHE_VARIABLE] = str(prepare_folder(cache_folder()))
            os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(MAX_CACHE_BYTES))
            os.environ.setdefault(
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(MIN_COMPILE_SECONDS)
            )
        except (OSError, RuntimeError):
            os.environ[CACHE_VARIABLE] = ""
    if not os.environ[CACHE_VARIABLE]:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def cache_folder() -> Path:
    """The user's, for this kind of processor: programs have its instructions, jax's names for them
    do not, and one home may be that of several machines. RuntimeError where there is no home."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = cache if cache.is_absolute() else Path.home() / ".cache"
    return (
        cache
        / "cnn_archs"
        / "compiled"
        / hashlib.sha256(processor_features().encode()).hexdigest()[:12]
    )


def processor_features() -> str:
    """Its architecture and, where Linux says so, its model and instructions."""
    told = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return told[0]
    return "\n".join(told + [x for x in lines if x.startswith(("model name", "flags", "Features"))])


def prepare_folder(folder: Path) -> Path:
    """`folder`, there and without programs that a killed process has left half written.

    jax writes a program, and then the time at which it was used, with its lock held. Without that
    time it could neither remove nor replace the program. OSError or RuntimeError where the folder
    cannot be written or locked.
    """
    from filelock import FileLock

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(folder / ".lockfile", timeout=10):
        for program in folder.glob("*-cache"):
            used = program.with_name(program.name.removesuffix("-cache") + "-atime")
            if not used.exists():
                program.unlink()
    return folder
