"""Disturb small runs at random for an hour, and check that nothing is lost or silently wrong.

    make soak                                  an hour
    make soak SOAK="--minutes=5 --seed=3"      five minutes of the soak with this seed
    make soak SOAK="--seed=3 --only=17"        its episode 17 alone

The exit code is 1 if anything was wrong. docs/faults.md says what is promised.
"""

import argparse
import collections
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from soak import episode, schedule
from soak.episode import Played, Player


def main(argv: list[str] | None = None) -> int:
    """Play episodes until the time is over, print the table, and return the exit code."""
    options = parse(argv)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    home = Path(options.home or tempfile.mkdtemp(prefix="cnn_archs_soak_"))
    os.environ.setdefault("XDG_CACHE_HOME", str(home / "cache"))  # of compiled programs
    say(f"seed {seed}, in {home}; {abilities()}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    started = time.monotonic()
    player = Player(home, say)
    played: list[Played] = []
    numbers = itertools.count() if options.only is None else [options.only]
    with suppress(KeyboardInterrupt):
        for episode_number in numbers:
            if time.monotonic() - started > 60 * options.minutes:
                break
            played.append(player.play(schedule.episode(seed, episode_number)))
    print(table(played))
    for line in wrong_lines(played, seed):
        print(line)
    if options.json:
        document = {"seed": seed, "minutes": options.minutes, "abilities": abilities()}
        document["episodes"] = [episode.to_json(p) for p in played]
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    wrong = any(p.findings() for p in played)
    if not options.home and not wrong:
        shutil.rmtree(home)
    return int(wrong)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="length (default: 60)")
    parser.add_argument("--seed", type=int, help="of the faults (default: a random one)")
    parser.add_argument("--only", type=int, help="the number of the only episode to play")
    parser.add_argument("--json", help="also write what happened to this file")
    parser.add_argument("--home", help="folder to work in (default: a new temporary one)")
    return parser.parse_args(argv)


def stop(number: int, frame: object) -> None:
    """End the soak at its first signal; disks are removed, and the table is printed."""
    for handled in (signal.SIGTERM, signal.SIGINT):
        signal.signal(handled, signal.SIG_IGN)
    raise KeyboardInterrupt


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def abilities() -> str:
    """Return how disks become full and files unreadable, which depends on the user."""
    if os.geteuid():
        return "not root: full disks are limits on the size of files"
    return (
        "root: full disks are small tmpfs where they can be mounted; commands run without root's "
        "right to read all files"
    )


def table(played: list[Played]) -> str:
    """Return a line for each kind of fault and subject, and what was compared."""
    rows: dict[str, collections.Counter[str]] = {}
    for one in played:
        for injection in one.injections:
            if injection.fault:
                row = rows.setdefault(schedule.kind(injection.fault), collections.Counter())
                row.update([one.episode.subject, injection.effect])
                row["wrong"] += bool(injection.findings)
    heads = [*schedule.SUBJECTS, "survived", "refused", "missed", "wrong"]
    lines = [f"{'fault':26}" + "".join(f"{head:>10}" for head in heads)]
    for name in sorted(rows):
        lines.append(f"{name:26}" + "".join(f"{rows[name][head]:10}" for head in heads))
    by_subject = collections.Counter(p.episode.subject for p in played)
    differ = sum(bool(p.differences) for p in played)
    ended = ", ".join(f"{count} x {subject}" for subject, count in sorted(by_subject.items()))
    lines.append(
        f"compared with an uninterrupted run, bit for bit: {ended or 'nothing'}; {differ} differ"
    )
    return "\n".join(lines)


def wrong_lines(played: list[Played], seed: int) -> list[str]:
    """Return a line for each thing that was wrong, with the command that plays it again."""
    return [
        f"WRONG: {p.episode.subject}: {what}  (make soak SOAK='--seed={seed} "
        f"--only={p.episode.number}')"
        for p in played
        for what in p.findings()
    ]


if __name__ == "__main__":
    sys.exit(main())
