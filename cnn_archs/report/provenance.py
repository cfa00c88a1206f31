"""Read the provenance of a result from its `made`, for one run or for all seeds of a cell.

`made` describes the process that wrote the result: command, python, packages, git_commit and more.
In newer results `made.parts` lists which process made which steps (see training/history.py). In a
merged result `made.by_seed` has all this for each seed, and `made` itself only what all seeds have
in common.
"""

from collections.abc import Mapping
from typing import Any

Made = Mapping[str, Any]


def made_of_seeds(made: Made) -> list[Made]:
    """List the `made` of each run that is in a result."""
    return made.get("by_seed", [made])


def made_of_parts(made: Made) -> list[Made]:
    """List the parts of all runs of a result; a run without recorded parts is one part."""
    return [part for one in made_of_seeds(made) for part in one.get("parts", [one])]


def commits_of(made: Made) -> list[str]:
    """List the commits that made a result's steps, each once; return [] if none is known."""
    found = (part.get("git_commit", "") for part in made_of_parts(made))
    return list(dict.fromkeys(commit for commit in found if commit))


def versions_of(made: Made) -> list[str]:
    """List the versions that made a result, `Python 3.12.1, jax 0.10.2, ...`, each once."""
    found = [package_versions(one) for one in made_of_seeds(made)]
    found += [
        f for part in made_of_parts(made) if not is_told_by(f := package_versions(part), found)
    ]
    said = (", ".join(f"{name} {version}" for name, version in f.items()) for f in found)
    return list(dict.fromkeys(text for text in said if text))


def package_versions(made: Made) -> dict[str, str]:
    """Return {name: version} of a run, or of a part, which records Python and jax only."""
    told = {"Python": made.get("python"), "jax": made.get("jax"), "jaxlib": made.get("jaxlib")}
    return {k: v for k, v in (told | made.get("packages", {})).items() if v}


def is_told_by(some: Mapping[str, str], found: list[dict[str, str]]) -> bool:
    """Return whether one of `found` contains all versions of `some`."""
    return any(some.items() <= other.items() for other in found)
