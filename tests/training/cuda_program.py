"""Script: compiles a loop of training steps for an NVIDIA H200 without one, and prints its thunks.

python cuda_program.py OVERRIDE...   of resnet_cifar10:20. Nothing is run and no image is read.
"""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from cnn_archs import config
from cnn_archs.distributed import mesh as meshes
from cnn_archs.experiment import resolve
from cnn_archs.planning.xla_memory import placeholder_statistics
from cnn_archs.runtime import compiler_options
from cnn_archs.training import programs, steps
from cnn_archs.training.placement import PlacedModel
from cnn_archs.training.seeds import choose_axis

H200 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  device_memory_size: 151397597184 memory_bandwidth: 4800000000000 l2_cache_size: 52428800
  shared_memory_per_core: 233472 shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  runtime_version: "13.0.0" driver_version: "13.0.0" compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H200"
"""
LOOP, EPOCH = 100, 390.625


def compile_loop(overrides: list[str]) -> dict[str, str]:
    """Return {"thunks", "hlo"}: what one call of LOOP steps launches, and its optimized program."""
    (device,) = topologies.get_topology_desc(
        platform="cuda", target_config=H200, topology="1x1x1"
    ).devices
    auto = (AxisType.Auto, AxisType.Auto)
    mesh = Mesh(np.array([[device]]), ("data", "model"), axis_types=auto)
    experiment = resolve(config.load_config("resnet_cifar10:20", overrides))
    rules = experiment.recipe.make_rules(EPOCH)
    axis = choose_axis("default", in_memory=True, devices=1, platform="gpu")
    images = jax.ShapeDtypeStruct((50_000, 32, 32, 3), jnp.uint8)
    labels = jax.ShapeDtypeStruct((50_000,), jnp.int32)
    init = partial(
        steps.init_state,
        experiment.model,
        rules.optimizer,
        rules.average,
        image_shape=experiment.image_shape,
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(init, key)
    seeds, batch = len(experiment.seeds), experiment.recipe.batch_size
    index = jax.ShapeDtypeStruct((LOOP, seeds, batch), jnp.int32)
    jax.default_backend = lambda: "gpu"  # what is traced is what a GPU would run
    train_step: Any
    train_step, _ = programs.make_steps(
        experiment.recipe,
        PlacedModel(experiment.net, mesh, {}),
        rules,
        experiment.inputs.make_preprocess(placeholder_statistics(experiment)),
        axis,
        axis.calls([meshes.tree_shardings(state, mesh, {})] * seeds)[0],
        LOOP,
        experiment.frozen,
        {},
    )
    compiler_options.is_cuda = lambda: True
    with tempfile.TemporaryDirectory() as folder:
        options = compiler_options.cuda_graph_options(experiment.cuda_graph)
        dump = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
        states, keys = axis.calls([state] * seeds)[0], axis.calls([key] * seeds)[0]
        lowered = train_step.whole.lower(states, keys, images, labels, index)
        program = lowered.compile({**options, **dump})
        (thunks,) = Path(folder).glob("*thunk_sequence_after_thunk_passes.txt")
        return {"thunks": thunks.read_text(), "hlo": program.as_text()}


if __name__ == "__main__":
    print(json.dumps(compile_loop(sys.argv[1:])))
