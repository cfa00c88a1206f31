"""Jobs of SLURM, through submitit: the script that sbatch gets, and its submission.

A job that was stopped, by its time limit or for another one, has saved and ended with exit code 75;
its script puts it into the queue again, once all of its processes have ended. SLURM itself does
that for a job that loses a node.
"""

import contextlib
import io
import math
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cnn_archs.errors import ConfigError, Stopped, first_line
from cnn_archs.launch import job
from cnn_archs.launch.job import JobRequest, Main
from cnn_archs.run_dir import jobs_folder

ROOT = Path(__file__).resolve().parents[2]  # where Python finds this package, installed or not
SIGNAL_SECONDS = 300  # seconds before the time limit, to save in
LOCK_SECONDS = 600  # seconds to wait for what is left of a job on a node that was lost

# srun does not take over the cores of sbatch in all versions.
EXPORT_CORES = (
    'if [ "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi'
)
# A node that SLURM has lost may be alive, and its processes hold the run.
WAIT_FOR_LOCK = """\
if [ "${{SLURM_RESTART_COUNT:-0}}" != 0 ] && [ -e {lock} ]; then
  flock --timeout {seconds} {lock} true || {{ scontrol requeue "$SLURM_JOB_ID"; exit {stopped}; }}
fi"""
# Saved and stopped; or by SIGUSR2 or SIGTERM, before anybody listened.
REQUEUE_IF_STOPPED = """\
code=$?
case $code in {stopped}|140|143) scontrol requeue "$SLURM_JOB_ID" ;; esac
exit $code"""


def submit_jobs(
    request: JobRequest, options: Mapping[str, Any], main: Main
) -> list[dict[str, str]]:
    """Submits the jobs -> [{id, stdout, stderr} of each], on whose nodes `main` is called.

    options: of sbatch, besides ours.
    """
    submitit, known = import_submitit(), submitit_parameters(request, options)
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise ConfigError("there is no sbatch here: submit where SLURM is, or see --dry_run")
    executor = submitit.SlurmExecutor(jobs_folder(request.workdir))
    executor.update_parameters(**known)
    commands = [request.part_command(i) for i in range(request.parts)]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says is in the error
            submitted = executor.map_array(partial(job.run_job, main), commands)  # one is no array
    except submitit.core.utils.FailedJobError as e:
        raise ConfigError(first_line(e).replace("sbatch: error: ", "sbatch: ")) from e
    return [
        {"id": j.job_id, "stdout": str(j.paths.stdout), "stderr": str(j.paths.stderr)}
        for j in submitted
    ]


def batch_script(request: JobRequest, options: Mapping[str, Any]) -> str:
    """What `submit` would give to sbatch."""
    import_submitit()
    from submitit.slurm import slurm

    start = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit"
    return slurm._make_sbatch_string(
        command=f"{start} {shlex.quote(str(jobs_folder(request.workdir)))}",
        folder=jobs_folder(request.workdir),
        map_count=request.parts if request.parts > 1 else None,
        **submitit_parameters(request, options),
    )


def import_submitit() -> Any:
    """submitit; ConfigError without it."""
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # or it closes the logs of others
    try:
        import submitit
    except ImportError as e:
        raise ConfigError("submit: there is no submitit: pip install 'cnn-archs[slurm]'") from e
    return submitit


def submitit_parameters(request: JobRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """The jobs as submitit's parameters; ConfigError if `options` has what `submit` sets itself.

    A run on several nodes is a process for each GPU, as jax expects it of SLURM. On one node it is
    one, and so is a sweep, whose processes are its own children.
    """
    minutes = math.ceil(60 * request.hours)
    spread = request.nodes > 1 and request.gpus_per_node
    ours = {
        "job_name": request.name,
        "time": minutes,
        "nodes": request.nodes,
        "ntasks_per_node": request.gpus_per_node if spread else 1,
        "signal_delay_s": min(SIGNAL_SECONDS, 15 * minutes),
        "array_parallelism": request.parts,
        **({"gpus_per_node": request.gpus_per_node} if request.gpus_per_node else {}),
    }
    for key in {name.replace("_", "-") for name in ours} | {"signal", "array", "output", "error"}:
        if key in options:
            raise ConfigError(f"--slurm.{key}: submit says that itself; see submit --help")
    lock = f"{shlex.quote(str(request.workdir))}/{request.lock_name('${SLURM_ARRAY_TASK_ID:-0}')}"
    path = f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"
    wait = WAIT_FOR_LOCK.format(lock=lock, seconds=LOCK_SECONDS, stopped=Stopped.code)
    return {
        **ours,
        "wckey": None,  # or it is "submitit"
        "additional_parameters": {"requeue": True, **options},
        # One that has stopped does not end the others, which may still be saving.
        "srun_args": ["--kill-on-bad-exit=0", "--wait=0"],
        "setup": [path, EXPORT_CORES, wait],
        "teardown": [REQUEUE_IF_STOPPED.format(stopped=Stopped.code)],
    }
