"""Run the Python file of an experiment or a sweep, with the argument that the user gave.

A file that takes an argument lists the values of it in `ARGUMENTS`. All other values are refused
here, before its function is called, but for those of ARGUMENT_FORMS, {description: pattern}.
"""

import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from cnn_archs.errors import ConfigError, closest_word, first_line
from cnn_archs.shipped import shipped_folder

EXPERIMENTS = shipped_folder("experiments")
DEFAULT_EXPERIMENT = "lenet5_digits"  # of commands that take --config and get none


def split_argument(experiment: str) -> tuple[str, str | None]:
    """Split `PATH.py[:argument]` or `NAME[:argument]`; the argument is None without a colon."""
    found = re.fullmatch(r"(.+\.py|[^:]*)(?::(.*))?", experiment, re.S)
    return (found[1], found[2]) if found else (experiment, None)


def list_names(folder: Path) -> list[str]:
    """List the experiments or sweeps in `folder`."""
    return sorted(p.stem for p in folder.glob("[!_]*.py") if p.stem != "base")


def locate_file(where: str, folder: Path, what: str) -> Path:
    """Return the file `where`, a path that ends in .py or the name of a file in `folder`.

    what: "experiment" or "sweep", for messages. Raises ConfigError if there is no such file.
    """
    path = Path(os.path.expanduser(where))
    if path.suffix != ".py" and path.parent == Path("."):
        names = list_names(folder)
        if where not in names:
            near = closest_word(where, names)
            hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(names)}"
            raise ConfigError(f"--config: no {what} {where!r}; {hint}")
        path = folder / f"{where}.py"
    if not os.path.isfile(path):
        raise ConfigError(f"--config: there is no file {path}")
    return path


def recorded_name(experiment: str) -> str:
    """Return `experiment` as a run records it, without the folder of its file.

    An experiment that is installed is NAME[:argument]; a file of somebody else's is
    FILE.py[:argument], so that it is never taken for an installed one of the same name.
    """
    where, argument = split_argument(experiment)
    path = locate_file(where, EXPERIMENTS, "experiment")
    name = path.stem if path.resolve().parent == EXPERIMENTS.resolve() else path.name
    return name if argument is None else f"{name}:{argument}"


def call_file(path: Path, argument: str | None, function: str) -> Any:
    """Execute the file `path` and return what its `function` returns for `argument`.

    argument: None calls the function without one. Raises ConfigError for an argument that the
    file's ARGUMENTS do not list, and for any error inside the file.
    """
    with experiments_importable(), neighbors_importable(path):
        module = execute_file(path)
        call = vars(module).get(function)
        if not callable(call):
            raise ConfigError(f"--config: {path} has no function {function}")
        check_argument(path, module, function, argument)
        try:
            return call() if argument is None else call(argument)
        except (Exception, SystemExit) as e:
            what = "" if argument is None else f" with argument {argument!r}"
            raise ConfigError(f"--config: {path}{what}: {describe_error(e, path)}") from e


def check_argument(path: Path, module: ModuleType, function: str, argument: str | None) -> None:
    """Raise ConfigError unless the file at `path` lists `argument` in its ARGUMENTS."""
    stated = vars(module).get("ARGUMENTS", ())
    if not isinstance(stated, tuple | list) or not all(isinstance(a, str) for a in stated):
        raise ConfigError(f'--config: {path}: ARGUMENTS must be texts, like ("plain", "quick")')
    known = [a for a in stated if a]
    parameters = list(inspect.signature(vars(module)[function]).parameters.values())
    if argument is None:
        if parameters and parameters[0].default is parameters[0].empty:
            raise ConfigError(
                f"--config={path.stem} needs an argument: {list_arguments(path, known)}"
            )
        return
    if not parameters:
        raise ConfigError(f"--config={path.stem}: no argument {argument!r}; {path.name} takes none")
    if not known:
        raise ConfigError(
            f"--config={path.stem}:{argument}: {path} does not say which arguments {function} "
            f'takes: write ARGUMENTS = ("{argument or "quick"}",) with all of them in it'
        )
    forms = vars(module).get("ARGUMENT_FORMS", {})
    if not isinstance(forms, dict) or not all(isinstance(f, str) for f in forms.values()):
        raise ConfigError(f"--config: {path}: ARGUMENT_FORMS must be {{description: pattern}}")
    if argument not in known and not any(re.fullmatch(f, argument) for f in forms.values()):
        near = closest_word(argument, known)
        hint = f"did you mean {near!r}? " if near else ""
        listed = list_arguments(path, [*known, *forms])
        raise ConfigError(f"--config={path.stem}: no argument {argument!r}; {hint}{listed}")


def list_arguments(path: Path, known: Sequence[str]) -> str:
    """Return the sentence that lists the arguments of the file `path`."""
    return f"{path.name} takes {', '.join(known)}"


@contextmanager
def experiments_importable() -> Iterator[None]:
    """Bind the name `experiments` to the folder EXPERIMENTS during the body.

    So a file that imports `experiments.base` works from any folder, and a package of that name that
    the user has imported is the user's again afterwards.
    """
    others = imported_experiments()
    if others and vars(others["experiments"]).get("__file__") == str(EXPERIMENTS / "__init__.py"):
        yield
        return
    for name in others:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        "experiments", EXPERIMENTS / "__init__.py", submodule_search_locations=[str(EXPERIMENTS)]
    )
    assert spec and spec.loader
    sys.modules["experiments"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["experiments"])
    try:
        yield
    finally:
        for name in imported_experiments():
            del sys.modules[name]
        sys.modules.update(others)


def imported_experiments() -> dict[str, ModuleType]:
    """Return the package `experiments` and its modules by name; empty unless it is imported."""
    if "experiments" not in sys.modules:
        return {}
    return {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "experiments"}


def execute_file(path: Path) -> ModuleType:
    """Execute the Python file `path` as a module. Raises ConfigError for any error inside it."""
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a dataclass in the file looks for its annotations
    try:
        with experiments_importable():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as e:
        raise ConfigError(f"--config: {path}: {describe_error(e, path)}") from e
    finally:
        del sys.modules[name]
    return module


@contextmanager
def neighbors_importable(path: Path) -> Iterator[None]:
    """Let the file `path` import the modules beside it during the body.

    They come after all others, so that none replaces an installed package, and are forgotten
    afterwards, so that a file in another folder may have other modules of the same names. The files
    in EXPERIMENTS import each other as `experiments.NAME` only.
    """
    if path.resolve().is_relative_to(EXPERIMENTS):
        yield
        return
    folder = str(path.resolve().parent)
    before = set(sys.modules)
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            file = vars(sys.modules[name]).get("__file__") or ""
            if os.path.dirname(file) == folder and "." not in name:
                del sys.modules[name]


def describe_error(e: BaseException, path: Path) -> str:
    """Describe an error in one line: its type, its message, and its line in the file `path`."""
    frames = traceback.extract_tb(e.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    at = f" (line {lines[-1]})" if lines else ""
    return f"{type(e).__name__}: {first_line(e)}{at}"
