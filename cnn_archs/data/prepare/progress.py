"""Report how far a preparation is, and end it after a signal."""

import time

from cnn_archs.errors import Stopped
from cnn_archs.runtime.console import format_duration, print_status
from cnn_archs.runtime.progress import WorkLine
from cnn_archs.runtime.signals import StopRequest


class Progress(WorkLine):
    """Shows the progress of the phases of a preparation. All reports raise Stopped after a signal.

    name: of the dataset.
    """

    def __init__(self, name: str, stop: StopRequest):
        super().__init__(name)
        self.stop = stop
        self.shards = self.total = self.bytes = self.size = 0
        self.start = time.monotonic()

    def report_indexed(self, pictures: int) -> None:
        """Report the number of pictures of a split that have been found so far."""
        self.raise_if_stopped()
        self.show(lambda: f"indexing, {pictures:,} images", pictures, None)

    def report_encoded(self, images: int, total: int) -> None:
        """Report how many of `total` images have been encoded."""
        self.raise_if_stopped()
        self.show(lambda: f"encoding, {images:,} of {total:,} images", images, total)

    def begin(self, size: int) -> None:
        """Begin a phase in which `size` bytes are downloaded or written."""
        self.size, self.bytes = size, 0
        self.start = self.shown = time.monotonic()

    def begin_shards(self, written: int, total: int, size: int) -> None:
        """Begin to write shards, of which some exist. size: of the missing images, in bytes."""
        self.begin(size)
        self.shards, self.total = written, total
        if written:
            print_status(f"{self.name}: resuming, {written:,} of {total:,} shards are there")

    def report_written(self, size: int) -> None:
        """Report that an image of `size` bytes has been written."""
        self.report_bytes(f"shard {self.shards + 1:,}/{self.total:,}", size)

    def report_bytes(self, what: str, size: int) -> None:
        """Report that `size` more bytes of the phase are done. what: the file that they are of."""
        self.bytes += size
        self.raise_if_stopped()
        self.show(lambda: f"{what}  {self.speed()}", self.bytes, self.size)

    def speed(self) -> str:
        """Return the speed of the phase and the time that is left of it."""
        rate = self.bytes / max(time.monotonic() - self.start, 1e-3)
        left = (self.size - self.bytes) / rate if rate else None
        digits = 0 if rate >= 10e6 else 1
        return f"{rate / 1e6:,.{digits}f} MB/s  {format_duration(left)} left"

    def raise_if_stopped(self) -> None:
        """Raise Stopped if a signal has asked to stop."""
        if self.stop:
            raise Stopped(
                f"stopped by a signal; what has been downloaded and written of {self.name} is "
                "kept: run the same command again to resume"
            )
