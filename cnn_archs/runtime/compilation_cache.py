"""Keep compiled programs in a folder of the user, so that later commands need not compile them."""

import hashlib
import os
import platform
import stat
from pathlib import Path

from cnn_archs.runtime.console import print_status

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
MAX_CACHE_BYTES = 5 * 2**30  # beyond that jax removes the least recently used programs
MIN_COMPILE_SECONDS = 0.1  # programs that compile faster are not kept


def enable_cache() -> None:
    """Set up jax's compilation cache in `cache_folder`, for this process and its children.

    Call this before jax is imported. If JAX_COMPILATION_CACHE_DIR is set, its value is used
    instead; an empty value disables the cache. A folder that cannot be written, or that is not this
    user's alone, also disables it.
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
    """Return the cache folder of this user for this kind of processor.

    Compiled programs contain instructions of the processor, but jax's keys for them do not say
    which, and several machines may share one home. Raises RuntimeError if there is no home.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = cache if cache.is_absolute() else Path.home() / ".cache"
    return (
        cache
        / "cnn_archs"
        / "compiled"
        / hashlib.sha256(processor_features().encode()).hexdigest()[:12]
    )


def processor_features() -> str:
    """Return the architecture of the processor and, on Linux, its model and instruction sets."""
    features = [platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").split("\n\n")[0].splitlines()
    except OSError:
        return features[0]
    names = ("model name", "flags", "Features")
    return "\n".join(features + [line for line in lines if line.startswith(names)])


def prepare_folder(folder: Path) -> Path:
    """Create `folder`, remove programs that a killed process left unfinished, and return it.

    While it holds its lock, jax writes a program and then the time at which it was used. A program
    without that time can be neither removed nor replaced by jax. Raises OSError or RuntimeError if
    the folder cannot be written or locked, or if another user could put programs into it.
    """
    from filelock import FileLock

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in (folder, folder.parent, folder.parent.parent):
        check_owner(part)
    folder.chmod(0o700)
    with FileLock(folder / ".lockfile", timeout=10):
        for program in folder.glob("*-cache"):
            used = program.with_name(program.name.removesuffix("-cache") + "-atime")
            if not used.exists():
                program.unlink()
    return folder


def check_owner(folder: Path) -> None:
    """Raise PermissionError, and say so, unless this user alone owns and can write `folder`.

    jax loads a program from the cache and runs it, so who can write there can run code here.
    """
    owners = {folder.lstat().st_uid, folder.stat().st_uid}  # of a link, and of what it leads to
    if owners != {os.geteuid()} or folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        print_status(
            f"compiled programs are not kept: {folder} is not yours alone; remove it, or run "
            f"chmod go-w on it if you trust what is in it"
        )
        raise PermissionError(f"{folder} can be written by others")
