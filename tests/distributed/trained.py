"""Script: trains networks for some steps, and prints what it measured as JSON.

    trained.py '[{"experiment": ..., "overrides": [...], "steps": 3}, ...]'

Prints for each network the losses, the bytes of each collective operation of the compiled step, and
the bytes of the gradient.
"""

import json
import re
import sys
from typing import Any

import jax
import numpy as np

KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
SIZES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "u8": 1, "pred": 1}


def collectives(text):
    """Return {kind: [bytes of each]} for the collectives in the text of a compiled program."""
    found: dict[str, list[int]] = {}
    for line in text.splitlines():
        match = re.search(rf"= (.*?) ({KINDS})(-start)?\(", line)
        if match:
            arrays = re.findall(r"(\w+)\[([\d,]*)\]", match[1])
            sizes = [
                SIZES[t] * int(np.prod([int(n) for n in d.split(",") if n])) for t, d in arrays
            ]
            found.setdefault(match[2], []).append(sum(sizes))
    return found


def trained(experiment, overrides, steps):
    from cnn_archs import config
    from cnn_archs.experiment import resolve
    from cnn_archs.training.build import Member, build_trainer
    from cnn_archs.training.cpu_step import no_persistent_cache
    from cnn_archs.training.seeds import SeedAxis

    settings = ["log_every=1", f"steps={steps}", *overrides]
    run = build_trainer(
        Member(resolve(config.load_config(experiment, settings))), axis=SeedAxis("in_turn")
    )
    batch = run.feeds[0](0, 1)
    train_step: Any = run.train_step
    with no_persistent_cache():  # a program with oneDNN cannot be cached
        compiled = train_step.lower(run.states[0], run.keys[0], *batch).compile()
    losses = []
    while run.step < run.total_steps:
        run.run_steps()
        losses.append(run.metrics("window")[0]["loss"])
        run.reset_window()
    params = jax.tree.leaves(run.states[0].params)
    return {
        "devices": run.mesh.size,
        "losses": losses,
        "collectives": collectives(compiled.as_text()),
        "gradient": sum(x.nbytes for x in params),
        "held": sum(x.addressable_shards[0].data.nbytes for x in params),
    }


if __name__ == "__main__":
    print(json.dumps([trained(**case) for case in json.loads(sys.argv[1])]))
