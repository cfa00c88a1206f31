"""Record the cost of a training step of each experiment that a statement of the papers names.

python benchmarks/step_costs.py [--only=PATTERN]
Steps are compiled for one simulated device and never run. What results/step_costs.json has already
is left as it is; remove an entry to have it made again. Each step is written as soon as it is
known, so the program can be stopped at any time.
"""

import argparse
import re
import sys
import time


def main() -> None:
    """Compile the steps that are missing in the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="a regular expression for the experiments")
    options = parser.parse_args()

    from cnn_archs.planning import step_cost, xla_memory

    xla_memory.simulate_devices(1)
    from cnn_archs.claims import schema
    from cnn_archs.config import load_config
    from cnn_archs.experiment import resolve
    from cnn_archs.runtime.files import write_json
    from cnn_archs.sweeps import sweep_file

    stated = schema.load_claims()
    sweeps = [f"paper:{paper}" for paper in stated.papers]
    sweeps += [claim.sweep for claim in stated.claims if claim.sweep]
    known = dict(step_cost.recorded_costs()) if step_cost.RECORD.exists() else {}
    for words in (w for sweep in sweeps for w in sweep_file.load_sweep(sweep)["cells"].values()):
        key = step_cost.record_key(words)
        if key in known or not re.search(options.only, key):
            continue
        start = time.process_time()
        experiment, *overrides = words
        known[key] = step_cost.measure_cost(resolve(load_config(experiment, overrides)))
        write_json(step_cost.RECORD, {name: known[name]._asdict() for name in sorted(known)})
        print(f"{key}: {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
