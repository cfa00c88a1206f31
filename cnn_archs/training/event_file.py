"""Writes TensorBoard event files, as well as the disk allows.

A training does not depend on these files. They are written by the thread that trains, into a
buffer: a thread of their own could die, and leave the training waiting for it. A file is open only
while its buffer is written, so that a run of very many seeds does not run out of open files.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import hparams, scalar

from cnn_archs.runtime.console import print_status

FLUSH_SECONDS = 60.0  # after which a reader sees what was written


class EventFiles:
    """The event files of a run: one for each seed, in `folder`/seedN, with the same tags.

    After the first error it prints one line and writes no more.
    """

    def __init__(
        self, folder: Path, seeds: Sequence[int], purge_step: int, settings: Mapping[str, Any]
    ):
        """Open new files. TensorBoard hides what older files have from `purge_step` on.

        settings: {section.key: value} for the table of TensorBoard's HParams; `seed` is added.
        """
        self.folder = folder
        self.works = True
        self.flushed = time.monotonic()
        self.buffering, self.flushing = threading.Lock(), threading.Lock()
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self.paths = {seed: folder / f"seed{seed}" / name for seed in seeds}
        self.buffers = self.empty_buffers()
        version = "brain.Event:2"
        for seed in seeds:
            shown = {key: shown_setting(value) for key, value in settings.items()}
            _, start, _ = hparams({**shown, "seed": seed}, {})
            self.write(seed, Event(wall_time=time.time(), file_version=version))
            self.write(seed, Event(step=purge_step, file_version=version))
            started = SessionLog(status=SessionLog.START)
            self.write(seed, Event(step=purge_step, session_log=started))
            self.write(seed, Event(wall_time=time.time(), summary=start))
        self.flush()

    def write_scalar(self, seed: int, tag: str, value: float, step: int, now: float) -> None:
        """Write one value. now: the time, in seconds since 1970."""
        self.write(seed, Event(summary=scalar(tag, value), step=step, wall_time=now))
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush()

    def write(self, seed: int, event: Event) -> None:
        """Append an event to the buffer of a seed, as a record of TensorFlow's format."""
        data = event.SerializeToString()
        size = struct.pack("<Q", len(data))
        parts = [part + struct.pack("<I", masked_crc32c(part)) for part in (size, data)]
        with self.buffering:
            self.buffers[seed] += b"".join(parts)

    def empty_buffers(self) -> dict[int, bytearray]:
        return {seed: bytearray() for seed in self.paths}

    def flush(self) -> None:
        """Write the buffers, and wait until all events are on the disk. Any thread may call it."""
        with self.flushing, self.best_effort():
            self.flushed = time.monotonic()
            with self.buffering:
                buffers, self.buffers = self.buffers, self.empty_buffers()
            for seed, buffer in buffers.items():
                if self.works and buffer:
                    self.paths[seed].parent.mkdir(parents=True, exist_ok=True)
                    with open(self.paths[seed], "ab") as file:
                        file.write(buffer)
                        file.flush()
                        os.fsync(file.fileno())

    @contextmanager
    def best_effort(self) -> Iterator[None]:
        """Give up writing at an error of the body, and say so."""
        try:
            yield
        except OSError as e:
            self.works = False
            print_status(
                f"cannot write the TensorBoard events in {self.folder}: {e.strerror or e}; the "
                "training continues without them, and metrics.jsonl has the same values"
            )


def shown_setting(value: Any) -> bool | float | str:
    """Return a value of a config as one that HParams shows: anything else becomes text."""
    return value if isinstance(value, bool | int | float | str) else str(value)
