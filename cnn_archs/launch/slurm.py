"""Write the batch scripts of SLURM jobs and submit them, through submitit.

A job that is stopped, by its time limit or by preemption, saves a checkpoint and ends with exit
code 75. Its script requeues it once all its processes have ended, if there is a new checkpoint.
SLURM itself requeues a job that loses a node; it waits for the lock of its run, but not for ever.
"""

import contextlib
import io
import math
import os
import shlex
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cnn_archs.errors import ConfigError, Stopped, first_line
from cnn_archs.launch import job
from cnn_archs.launch.job import JobRequest, Main
from cnn_archs.run_dir import jobs_folder
from cnn_archs.runtime.own_process import process_command

SIGNAL_SECONDS = 300  # from the signal to the time limit: time to save a checkpoint
LOCK_SECONDS = 600  # to wait for the lock of a run that a lost node may still hold
LOCK_WAITS = 6  # such waits in a row, after which the job ends

# Not all versions of srun inherit the cores of sbatch.
EXPORT_CORES = """\
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"; fi"""
# A node that SLURM considers lost may be alive, and its processes may hold the run. The file of
# waits has a line for each wait in a row that was in vain.
WAIT_FOR_LOCK = """\
workdir={workdir}
lock="$workdir"/{lock}
waits="$workdir"/{jobs}/"$SLURM_JOB_ID".waits
if [ "${{SLURM_RESTART_COUNT:-0}}" != 0 ] && [ -e "$lock" ]; then
  if flock --timeout {seconds} "$lock" true; then rm -f "$waits"
  else
    echo >> "$waits"
    if [ "$(wc -l < "$waits")" -lt {waits} ]; then scontrol requeue "$SLURM_JOB_ID"
    else
      rm -f "$waits"
      echo "error: $lock is still held by another process: end it and submit again" >&2
    fi
    exit {stopped}
  fi
fi
touch "$workdir"/{jobs}/"$SLURM_JOB_ID".started"""
# Saved and stopped (75), or ended by SIGUSR2 (140) or SIGTERM (143) before handlers were set. A job
# whose time is too short for one checkpoint would begin again for ever. In a sweep the checkpoints
# of all its parts count.
REQUEUE_IF_STOPPED = """\
code=$?
started="$workdir"/{jobs}/"$SLURM_JOB_ID".started
case $code in {stopped}|140|143)
  if find "$workdir" -newer "$started" -regex '.*/checkpoints/[0-9]+' | grep --quiet .
  then scontrol requeue "$SLURM_JOB_ID"
  else echo "error: stopped without a new checkpoint: submit again with more --hours" >&2
  fi ;;
esac
rm -f "$started"
exit "$code\""""


def submit_jobs(
    request: JobRequest, options: Mapping[str, Any], main: Main
) -> list[dict[str, str]]:
    """Submit the jobs, whose nodes call `main`; return {id, stdout, stderr} of each.

    options: further options of sbatch. Raises ConfigError without submitit or sbatch, if sbatch
    refuses the jobs, and if `submitit_parameters` does.
    """
    submitit, parameters = import_submitit(), submitit_parameters(request, options)
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise ConfigError(
            "there is no sbatch here: submit on a machine with SLURM, or use --dry_run"
        )

    class SlurmExecutor(submitit.SlurmExecutor):  # type: ignore[name-defined]
        _submitit_command_str = node_command(request.workdir)  # there is no public way to set it

    executor = SlurmExecutor(jobs_folder(request.workdir))
    executor.update_parameters(**parameters)
    commands = [request.part_command(i) for i in range(request.parts)]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the error has sbatch's message
            submitted = executor.map_array(
                partial(job.run_job, main), commands
            )  # one command makes no array
    except submitit.core.utils.FailedJobError as e:
        raise ConfigError(first_line(e).replace("sbatch: error: ", "sbatch: ")) from e
    return [
        {"id": j.job_id, "stdout": str(j.paths.stdout), "stderr": str(j.paths.stderr)}
        for j in submitted
    ]


def batch_script(request: JobRequest, options: Mapping[str, Any]) -> str:
    """Return the script that `submit_jobs` passes to sbatch."""
    import_submitit()
    from submitit.slurm import slurm

    return slurm._make_sbatch_string(
        command=node_command(request.workdir),
        folder=jobs_folder(request.workdir),
        map_count=request.parts if request.parts > 1 else None,
        **submitit_parameters(request, options),
    )


def node_command(workdir: Path) -> str:
    """Return the shell command that each task of a job runs: submitit's, with this package."""
    target = "submitit.core.submission:submitit_main"
    return shlex.join(process_command(target, str(jobs_folder(workdir))))


def import_submitit() -> Any:
    """Import submitit. Raises ConfigError if it is not installed."""
    os.environ.setdefault(
        "SUBMITIT_LOG_LEVEL", "NOCONFIG"
    )  # else it closes the handlers of other loggers
    try:
        import submitit
    except ImportError as e:
        raise ConfigError(
            "submit: submitit is not installed: pip install 'cnn-archs[slurm]'"
        ) from e
    return submitit


def submitit_parameters(request: JobRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return submitit's parameters for the jobs.

    A run on several nodes has one process per GPU, as jax expects it of SLURM. A run on one node
    has one process, and so has a sweep, which starts processes itself. Raises ConfigError if
    `options` contains an option that `submit_jobs` sets itself.
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
            raise ConfigError(f"--slurm.{key}: submit sets this option itself; see submit --help")
    jobs = jobs_folder(request.workdir).name
    wait = WAIT_FOR_LOCK.format(
        workdir=shlex.quote(str(request.workdir)),
        lock=request.lock_name('"${SLURM_ARRAY_TASK_ID:-0}"'),
        jobs=jobs,
        seconds=LOCK_SECONDS,
        waits=LOCK_WAITS,
        stopped=Stopped.code,
    )
    return {
        **ours,
        "wckey": None,  # submitit's default is "submitit"
        "additional_parameters": {"requeue": True, **options},
        # A process that has stopped must not end the others, which may still be saving.
        "srun_args": ["--kill-on-bad-exit=0", "--wait=0"],
        "setup": [EXPORT_CORES, wait],
        "teardown": [REQUEUE_IF_STOPPED.format(jobs=jobs, stopped=Stopped.code)],
    }
