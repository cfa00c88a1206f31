"""Writes TensorBoard event files, as well as the disk allows.

A training does not depend on these files. They are written by the thread that trains, into a
buffer: a thread of their own could die, and leave the training waiting for it.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from cnn_archs.runtime.console import print_status

FLUSH_SECONDS = 60.0  # after which a reader sees what was written


class EventFile:
    """An event file in `folder`. After the first error it prints one line and writes no more."""

    def __init__(self, folder: Path, purge_step: int):
        """Open a new file. TensorBoard hides what older files have from `purge_step` on."""
        self.folder = folder
        self.writer: RecordWriter | None = None
        self.flushed = time.monotonic()
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        with self.best_effort():
            folder.mkdir(parents=True, exist_ok=True)
            self.writer = RecordWriter(str(folder / name))
        self.write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.write(Event(step=purge_step, file_version="brain.Event:2"))
        self.write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def write_scalar(self, name: str, value: float, step: int) -> None:
        """Write one value, with the present time."""
        self.write(Event(summary=scalar(name, value), step=step, wall_time=time.time()))
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def write(self, event: Event) -> None:
        with self.best_effort():
            if self.writer:
                self.writer.write(event.SerializeToString())

    def flush(self) -> None:
        """Wait until all events are on the disk."""
        self.flushed = time.monotonic()
        with self.best_effort():
            if self.writer:
                self.writer.flush()

    def close(self) -> None:
        """Write all events and close the file."""
        with self.best_effort():
            if self.writer:
                self.writer.close()

    @contextmanager
    def best_effort(self) -> Iterator[None]:
        """Give up writing at an error of the body, and say so."""
        try:
            yield
        except OSError as e:
            broken, self.writer = self.writer, None
            if broken:
                with suppress(OSError):
                    broken.close()
            print_status(
                f"cannot write the TensorBoard events in {self.folder}: {e.strerror or e}; the "
                "training continues without them, and metrics.jsonl has the same values"
            )
