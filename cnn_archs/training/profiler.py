"""Traces a window of training steps for xprof and TensorBoard."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import jax

from cnn_archs.errors import DataError, first_line


class StepTrace(AbstractContextManager["StepTrace"]):
    """Traces the training steps in the range `steps` into `folder`, each with its number.

    Evaluations and checkpoints between those steps are traced as well. The trace ends after the
    last of the steps, or with this context, so that it is also written when the run fails.
    """

    def __init__(self, steps: range, folder: Path):
        self.steps, self.folder = steps, folder
        self.running = False

    def __exit__(self, *error: object) -> None:
        self.end()

    def misses_all(self, first: int, total: int) -> bool:
        """Return whether `steps` is not empty but has none of first, ..., total - 1."""
        overlap = range(max(first, self.steps.start), min(total, self.steps.stop))
        return bool(self.steps) and not overlap

    @contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Trace step number `step`, counted from 0, which runs inside, if it is one of `steps`."""
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
        """Start the trace."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # tracing Python calls would take longer than the step
        self.folder.mkdir(exist_ok=True)
        jax.profiler.start_trace(self.folder, profiler_options=options)
        self.running = True

    def end(self) -> None:
        """Write the trace, if one is running. Raises DataError if that fails."""
        if not self.running:
            return
        self.running = False
        try:
            jax.profiler.stop_trace()
        except RuntimeError as e:
            raise DataError(f"cannot write a trace in {self.folder}: {first_line(e)}") from e
