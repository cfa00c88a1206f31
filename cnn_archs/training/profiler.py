"""A window of steps, traced for xprof and TensorBoard."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jax

from cnn_archs.errors import DataError, first_line


class Trace(AbstractContextManager["Trace"]):
    """Traces those of `steps` that are made, each with its number, into `folder`.

    Whatever is between two of them, an evaluation or a checkpoint, is in the trace as well. Ends
    with the last of them, or with this context: however the run ends, what was traced is there.
    """

    def __init__(self, steps: range, folder: Path):
        self.steps, self.folder = steps, folder
        self.running = False

    def __exit__(self, *error: object) -> None:
        self.end()

    def misses(self, first: int, total: int) -> bool:
        """Is there something to trace, but nothing of it in the steps from `first` to `total`?"""
        return bool(self.steps) and not range(
            max(first, self.steps.start), min(total, self.steps.stop)
        )

    @contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Around step number `step`, counted from 0, to its last result."""
        if step not in self.steps:
            yield
            return
        if not self.running:
            self.begin()
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield
        if step + 1 == self.steps.stop:
            self.end()

    def begin(self) -> None:
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # else every call of Python's, which takes longer than ours
        self.folder.mkdir(exist_ok=True)
        jax.profiler.start_trace(self.folder, profiler_options=options)
        self.running = True

    def end(self) -> None:
        """Writes what was traced, if a trace is running."""
        if not self.running:
            return
        self.running = False
        try:
            jax.profiler.stop_trace()
        except RuntimeError as e:
            raise DataError(f"cannot write a trace in {self.folder}: {first_line(e)}") from e
