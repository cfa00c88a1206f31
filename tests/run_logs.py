"""The log of a run, as far as another run with the same settings must have the same."""

import json
from pathlib import Path
from typing import Any


def log_lines(workdir: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without the times at which they were written."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]
