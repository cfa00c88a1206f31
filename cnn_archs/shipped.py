"""Find the folders that are shipped with the package: experiments, results, weights."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Return the folder `name`, which a wheel has inside the package and a checkout beside it.

    The experiments decide, because a checkout may hold folders of older versions, which git leaves
    behind with their `__pycache__`.
    """
    in_wheel = (PACKAGE / "experiments" / "base.py").is_file()
    return (PACKAGE if in_wheel else PACKAGE.parent) / name
