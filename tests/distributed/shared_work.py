"""Script: evaluates and predicts as one of several processes, and prints what it finds as JSON.

    shared_work.py '{"coordinator": "localhost:1", "count": 2, "index": 0, "work": [...]}'

Each of `work` is a list of the name of a function below and its arguments.
"""

import json
import sys
from pathlib import Path

from cnn_archs.distributed import connection, multihost
from cnn_archs.evaluate import predict, robustness, runs


def evaluate(workdirs, *arguments):
    """Return the result of `evaluate`, without what made it."""
    found = runs.evaluate_runs([Path(workdir) for workdir in workdirs], *arguments)
    del found["made"]
    return found


def classes(workdir, files):
    """Return what `predict` finds: the predictions, the errors by file, and the notes."""
    found = predict.predict_files(predict.load_predictor(Path(workdir)), [*map(Path, files)], 3)
    errors = {file: str(error) for file, error in found.errors.items()}
    return [found.found, errors, found.notes]


def warped(workdir):
    """Return the errors of `evaluate --robustness`."""
    return robustness.measure_robustness(Path(workdir))


def measure(work):
    return [globals()[name](*arguments) for name, *arguments in work]


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    connection.initialize(order["coordinator"], order["count"], order["index"])
    with multihost.exit_on_error():
        print(json.dumps(measure(order["work"])))
