"""Describe jobs for Kubernetes as a JobSet manifest, which kubectl applies.

An experiment is a Job with one pod per node, whose processes find each other by the name of the
first pod. The pods restart together, because none can continue without the others: both after exit
code 75 (the run was saved because a node was drained or preempted) and after the loss of a node. A
sweep is a Job with one pod per part, each of which restarts alone.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cnn_archs.arithmetic import ceil_div
from cnn_archs.errors import ConfigError
from cnn_archs.launch.job import JobRequest

PORT = 1234  # on which the first process listens for the others
TERMINATION_SECONDS = 300  # from SIGTERM to SIGKILL: time to save a checkpoint
MAX_RESTARTS = 100  # more than a run needs, but a run that always fails ends
FINAL_EXIT_CODES = (3, 4)  # not worth a retry: damaged data, a loss that is not finite
POD_INDEX = "$(JOB_COMPLETION_INDEX)"


class PodNeeds(NamedTuple):
    """The cores, and the bytes of memory, that a pod asks its node for."""

    cpus: int
    memory: int


def check_names(request: JobRequest) -> None:
    """Raise ConfigError if no JobSet can have the name of the workdir, or if its parent is /."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", request.name):
        raise ConfigError(
            f"--workdir=.../{request.name}: the JobSet takes this name, which must be at most 40 "
            "characters of a-z, 0-9 and -, and start with a letter"
        )
    if request.workdir.parent == Path("/"):
        raise ConfigError(
            f"--workdir={request.workdir}: the claim is mounted at its parent, which must not be /"
        )


def manifest(
    request: JobRequest, image: str, volume: str, needs: PodNeeds | None
) -> dict[str, Any]:
    """Return the JobSet for `request`.

    image: the container image. volume: a ReadWriteMany claim, which is mounted at the parent of
    the workdir. needs: what each pod asks for, None if it is not known. `check_names` has accepted
    the request.
    """
    sweep = request.command[0] == "sweep"
    pods = request.parts if sweep else request.nodes
    job = {
        # jax takes a pod with an index for one process of several.
        "completionMode": "Indexed" if sweep or pods > 1 else "NonIndexed",
        "completions": pods,
        "parallelism": pods,
        **(restart_one_pod() if sweep else restart_all_pods()),
        "template": {"spec": pod_spec(request, image, volume, needs)},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": request.name},
        "spec": {
            "network": {"enableDNSHostnames": True},
            "failurePolicy": failure_policy(sweep),
            "replicatedJobs": [{"name": "pods", "replicas": 1, "template": {"spec": job}}],
        },
    }


def failure_policy(sweep: bool) -> dict[str, Any]:
    """Return the policy that tells the JobSet what to do when its Job has failed."""
    if sweep:  # its Job has already restarted each part as often as is worthwhile
        return {"maxRestarts": 0}
    hopeless = {"name": "hopeless", "action": "FailJobSet"}
    return {
        "maxRestarts": MAX_RESTARTS,
        "rules": [{**hopeless, "onJobFailureReasons": ["PodFailurePolicy"]}],
    }


def restart_all_pods() -> dict[str, Any]:
    """Return the fields by which one failed pod fails the Job, so that the JobSet restarts it."""
    return {
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [exit_code_rule("FailJob", FINAL_EXIT_CODES)]},
    }


def restart_one_pod() -> dict[str, Any]:
    """Return the fields by which the Job restarts a pod alone, unless its exit code is final."""
    return {
        "backoffLimitPerIndex": MAX_RESTARTS,
        "podFailurePolicy": {"rules": [exit_code_rule("FailIndex", (1, *FINAL_EXIT_CODES))]},
    }


def exit_code_rule(action: str, codes: tuple[int, ...]) -> dict[str, Any]:
    """Return the rule that takes `action` if a pod ends with one of `codes`."""
    on = {"containerName": "cnn-archs", "operator": "In", "values": list(codes)}
    return {"action": action, "onExitCodes": on}


def pod_spec(
    request: JobRequest, image: str, volume: str, needs: PodNeeds | None
) -> dict[str, Any]:
    """Return the specification of the pod that runs on each node."""
    container: dict[str, Any] = {
        "name": "cnn-archs",
        "image": image,
        "command": ["cnn-archs", *pod_command(request)],
        "volumeMounts": [
            {"name": "runs", "mountPath": str(request.workdir.parent)},
            {"name": "memory", "mountPath": "/dev/shm"},
        ],
    }
    if resources := pod_resources(request, needs):
        container["resources"] = resources
    return {
        "restartPolicy": "Never",
        # Otherwise the process is PID 1, which ignores signals until it has set handlers.
        "shareProcessNamespace": True,
        "terminationGracePeriodSeconds": TERMINATION_SECONDS,
        "containers": [container],
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": volume}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},  # NCCL needs much of it
        ],
    }


def pod_resources(request: JobRequest, needs: PodNeeds | None) -> dict[str, Any]:
    """Return the resources of a pod, without limits on CPUs and memory: a node may have more."""
    resources: dict[str, Any] = {}
    if needs:
        resources["requests"] = {
            "cpu": str(needs.cpus),
            "memory": f"{ceil_div(needs.memory, 2**30)}Gi",
        }
    if request.gpus_per_node:
        resources["limits"] = {"nvidia.com/gpu": request.gpus_per_node}
    return resources


def pod_command(request: JobRequest) -> tuple[str, ...]:
    """Return the command that each pod runs, which contains POD_INDEX if there are several pods."""
    # Kubernetes puts variables in place of $(NAME), and $ in place of $$.
    command = tuple(word.replace("$", "$$") for word in request.command)
    if request.command[0] == "sweep":
        return dataclasses.replace(request, command=command).part_command(POD_INDEX)
    if request.nodes == 1:
        return command
    first = f"{request.name}-pods-0-0.{request.name}:{PORT}"
    number = (f"--num_processes={request.nodes}", f"--process_id={POD_INDEX}")
    return (*command, f"--coordinator={first}", *number)


def manifest_yaml(manifest: dict[str, Any]) -> str:
    """Return a manifest as YAML, as kubectl reads it."""
    return yaml.safe_dump(manifest, sort_keys=False).rstrip()
