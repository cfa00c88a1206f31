"""What a user can run into: each is one line on stderr and an exit code of its own."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class UserError(Exception):
    """The message names the thing and the remedy."""

    code = 2


class ClaimMissed(UserError):
    """An exact claim of the papers is not what our code computes."""

    code = 1


class CellsFailed(UserError):
    """Some cells of a sweep could not be trained, twice."""

    code = 1


class ConfigError(UserError):
    """A wrong flag, key, type, name or path."""


class DataError(UserError):
    """Data or a checkpoint that is missing, damaged or incomplete."""

    code = 3


class NotFinite(UserError):
    """The loss is infinite or not a number. parts: the run's parts in which it is, from 0."""

    code = 4

    def __init__(self, message: str, parts: Sequence[int] = (0,)):
        super().__init__(message)
        self.parts = tuple(parts)


class Stopped(UserError):
    """A signal came; the run is saved and goes on when it is started again."""

    code = 75


def first_line(e: BaseException) -> str:
    """The first line of what `e` says; its type where it says nothing."""
    return (str(e).strip() or type(e).__name__).splitlines()[0]


def closest_word(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that `word` was probably meant to be, if any."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)), None)


@contextmanager
def config_errors(what: str) -> Iterator[None]:
    """Turn what a constructor or a trace refuses inside into a ConfigError of one line.

    what: names the part of the config that is at fault, at the beginning of that line.
    """
    try:
        yield
    except (ValueError, TypeError, ArithmeticError, LookupError) as e:
        raise ConfigError(f"{what}: {first_line(e)}") from e
