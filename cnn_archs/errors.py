"""Errors shown to the user: one line on stderr, and each class has its own exit code."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class UserError(Exception):
    """The base of all errors for the user. The message says what is wrong and how to fix it."""

    code = 2

    def __str__(self) -> str:
        return escaped(super().__str__())


class ClaimMissed(UserError):
    """Tells that this code computes another value than a paper states."""

    code = 1


class CellsFailed(UserError):
    """Some cells of a sweep failed twice."""

    code = 1


class ConfigError(UserError):
    """A wrong flag, key, type, name or path."""


class DataError(UserError):
    """Data, or a checkpoint, that is missing, damaged or incomplete."""

    code = 3


class NotFinite(UserError):
    """The loss is infinite or not a number.

    parts: the indices of the runs, among those trained together, whose loss it is.
    """

    code = 4

    def __init__(self, message: str, parts: Sequence[int] = (0,)):
        super().__init__(message)
        self.parts = tuple(parts)


class PeerLost(UserError):
    """Another process of the same run has ended, which says itself why."""

    code = 1


class Stopped(UserError):
    """A signal stopped the run; it is saved, and resumes when it is started again."""

    code = 75


def escaped(text: str) -> str:
    """Return `text` as one line that a terminal prints as it is.

    Line breaks, terminal escapes, marks that reverse the direction of writing, and bytes of file
    names that are not UTF-8 become \\n, \\x1b, \\u202e, \\udcff: as in a string of Python.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in decoded(text))


def decoded(text: str) -> str:
    """Return `text` with the names of files as UTF-8, if the locale had them read otherwise."""
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return text


def first_line(e: BaseException) -> str:
    """Return the first line of the message of `e`, or its type if the message is empty."""
    return (str(e).strip() or type(e).__name__).splitlines()[0]


def closest_word(word: str, words: Iterable[str]) -> str | None:
    """Return the one of `words` that `word` was probably meant to be, if any, in either case."""
    known = {w.lower(): w for w in words}
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return known[near[0]] if near else None


@contextmanager
def config_errors(what: str) -> Iterator[None]:
    """Turn errors of the body, a constructor or a trace, into a ConfigError of one line.

    what: the part of the config that is at fault; the line begins with it.
    """
    try:
        yield
    except (ValueError, TypeError, ArithmeticError, LookupError) as e:
        raise ConfigError(f"{what}: {first_line(e)}") from e
