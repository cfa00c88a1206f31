"""Jobs of Kubernetes: a JobSet, as kubectl takes it.

An experiment is a Job of as many pods as nodes are asked for, whose processes find each other by
the name of the first. They start again together, because none can go on without the others: after
exit code 75 (a node was drained or preempted: saved) as after a node was lost. A sweep is a Job of
a pod for each part, which starts again alone.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from cnn_archs.errors import ConfigError
from cnn_archs.launch.job import Request

PORT = 1234  # of the first process, where the others find it
GRACE = 300  # seconds from SIGTERM to SIGKILL, to save in
RESTARTS = 100  # more than a run needs; one that fails each time ends some time
HOPELESS = (3, 4)  # exit codes that would come again: of data, of a loss that is not finite
INDEX = "$(JOB_COMPLETION_INDEX)"


def manifest(request: Request, image: str, volume: str) -> dict[str, Any]:
    """The JobSet. volume: a claim, ReadWriteMany, mounted where the workdir is to be made.

    ConfigError if a JobSet cannot be called what the workdir is.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", request.name):
        raise ConfigError(
            f"--workdir=.../{request.name}: the JobSet takes that name, of at most 40 a-z, 0-9, -"
        )
    if request.workdir.parent == Path("/"):
        raise ConfigError(f"--workdir={request.workdir}: the claim is mounted at its parent, not /")
    sweep = request.command[0] == "sweep"
    pods = request.parts if sweep else request.nodes
    job = {
        # jax takes a process with an index for one of several.
        "completionMode": "Indexed" if sweep or pods > 1 else "NonIndexed",
        "completions": pods,
        "parallelism": pods,
        **(parts_alone() if sweep else all_together()),
        "template": {"spec": pod(request, image, volume)},
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
    """What becomes of the JobSet when its Job has failed."""
    if sweep:  # its parts were started again, as often as there is hope
        return {"maxRestarts": 0}
    hopeless = {"name": "hopeless", "action": "FailJobSet"}
    return {
        "maxRestarts": RESTARTS,
        "rules": [{**hopeless, "onJobFailureReasons": ["PodFailurePolicy"]}],
    }


def all_together() -> dict[str, Any]:
    """One pod's failure is that of the Job, which the JobSet starts again, or not."""
    return {"backoffLimit": 0, "podFailurePolicy": {"rules": [ends("FailJob", HOPELESS)]}}


def parts_alone() -> dict[str, Any]:
    """A pod is started again by its Job; a part whose cells have failed twice is not."""
    return {
        "backoffLimitPerIndex": RESTARTS,
        "podFailurePolicy": {"rules": [ends("FailIndex", (1, *HOPELESS))]},
    }


def ends(action: str, codes: tuple[int, ...]) -> dict[str, Any]:
    """The rule that does `action` on these exit codes."""
    on = {"containerName": "cnn-archs", "operator": "In", "values": list(codes)}
    return {"action": action, "onExitCodes": on}


def pod(request: Request, image: str, volume: str) -> dict[str, Any]:
    """What runs on a node."""
    container: dict[str, Any] = {
        "name": "cnn-archs",
        "image": image,
        "command": ["cnn-archs", *command(request)],
        "volumeMounts": [
            {"name": "runs", "mountPath": str(request.workdir.parent)},
            {"name": "memory", "mountPath": "/dev/shm"},
        ],
    }
    if request.gpus_per_node:
        container["resources"] = {"limits": {"nvidia.com/gpu": request.gpus_per_node}}
    return {
        "restartPolicy": "Never",
        "shareProcessNamespace": True,  # else no signal ends our process before it has its handlers
        "terminationGracePeriodSeconds": GRACE,
        "containers": [container],
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": volume}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},  # for NCCL, which takes much
        ],
    }


def command(request: Request) -> tuple[str, ...]:
    """The command of each pod, by its index."""
    if request.command[0] == "sweep":
        return request.of_part(INDEX)
    if request.nodes == 1:
        return request.command
    first = f"{request.name}-pods-0-0.{request.name}:{PORT}"
    number = (f"--num_processes={request.nodes}", f"--process_id={INDEX}")
    return (*request.command, f"--coordinator={first}", *number)


def text(manifest: dict[str, Any]) -> str:
    """A manifest as people and kubectl read it."""
    return yaml.safe_dump(manifest, sort_keys=False).rstrip()
