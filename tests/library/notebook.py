"""A process like a notebook's, in which other libraries were imported and used before ours.

Run as `python notebook.py WORKDIR`. It prints one JSON document.
"""

import asyncio
import json
import os
import signal
import sys
import threading

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

# Its own work: 64 bits, a device in use, an open figure, signals with handlers.
jax.config.update("jax_enable_x64", True)
nn.Dense(3).init(jax.random.key(0), jnp.zeros((1, 2)))
plt.rcParams["lines.linewidth"] = 7.0
plt.figure()


def handler(number: int, frame: object) -> None:
    raise AssertionError


signal.signal(signal.SIGTERM, handler)
WORKDIR = sys.argv[1]
TINY = {"model.name": "mlp", "model.hidden": (4,), "steps": 2}


def state() -> dict[str, object]:
    """Return the state of the process, which a call must leave as it is."""
    return {
        "signals": [signal.getsignal(n) for n in range(1, 32)],
        "environment": dict(os.environ),
        "path": list(sys.path),
        "jax": {name: str(value) for name, value in jax.config.values.items()},
        "backend": matplotlib.get_backend(),
        "style": plt.rcParams["lines.linewidth"],
        "figures": plt.get_fignums(),
        "stdout": sys.stdout is sys.__stdout__,
    }


async def main() -> None:
    before, wakeup = state(), signal.set_wakeup_fd(-1)  # the loop's own, as in a kernel
    signal.set_wakeup_fd(wakeup)

    import cnn_archs

    found: dict[str, object] = {}
    result = cnn_archs.train("lenet5_digits", f"{WORKDIR}/main", TINY)  # inside a running loop
    found["command"] = result["made"]["command"]

    def in_a_thread() -> None:
        cnn_archs.train("lenet5_digits", f"{WORKDIR}/thread", TINY)
        net = cnn_archs.load(f"{WORKDIR}/thread")
        found["labels"] = net.predict(cnn_archs.data.load("digits", "test").images).labels.tolist()

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.01)
    errors = {}
    for name, call in {
        "experiment": lambda: cnn_archs.train("lenet5_digit", WORKDIR),
        "value": lambda: cnn_archs.train("lenet5_digits", WORKDIR, {"epochs": "many"}),
        "run": lambda: cnn_archs.load("none"),
    }.items():
        try:
            call()
        except cnn_archs.errors.UserError as e:
            errors[name] = str(e)
    after = state()
    found["errors"] = errors
    found["changed"] = [name for name in before if before[name] != after[name]]
    found["wakeup"] = signal.set_wakeup_fd(wakeup) == wakeup
    print(json.dumps(found))


asyncio.run(main())
