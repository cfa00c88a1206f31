"""The command that starts a function of this package in a process of its own."""

import sys

from cnn_archs.runtime import start


def process_command(target: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that calls `target`, MODULE:FUNCTION, in a new process of this code.

    The function finds `arguments` in sys.argv[1:]. The process reads and writes UTF-8 whatever the
    locale is, writes its output at once, and imports nothing from the current folder.
    """
    return (sys.executable, "-u", "-P", "-X", "utf8", start.__file__, target, *arguments)
