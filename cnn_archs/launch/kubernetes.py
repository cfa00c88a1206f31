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
from cnn_archs.launch.job import JobRequest

PORT = 1234  # of the first process, where the others find it
TERMINATION_SECONDS = 300  # seconds from SIGTERM to SIGKILL, to save in
MAX_RESTARTS = 100  # more than a run needs; one that fails each time ends some time
FINAL_EXIT_CODES = (3, 4)  # exit codes that would come again: of data, of a loss that is not finite
POD_INDEX = "$(JOB_COMPLETION_INDEX)"


def manifest(request: JobRequest, image: str, volume: str) -> dict[str, Any]:
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
        **(restart_one_pod() if sweep else restart_all_pods()),
        "template": {"spec": pod_spec(request, image, volume)},
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
        "maxRestarts": MAX_RESTARTS,
        "rules": [{**hopeless, "onJobFailureReasons": ["PodFailurePolicy"]}],
    }


def restart_all_pods() -> dict[str, Any]:
    """One pod's failure is that of the Job, which the JobSet starts again, or not."""
    return {
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [exit_code_rule("FailJob", FINAL_EXIT_CODES)]},
    }


def restart_one_pod() -> dict[str, Any]:
    """A pod is started again by its Job; a part whose cells have failed twice is not."""
    return {
        "backoffLimitPerIndex": MAX_RESTARTS,
        "podFailurePolicy": {"rules": [exit_code_rule("FailIndex", (1, *FINAL_EXIT_CODES))]},
    }


def exit_code_rule(action: str, codes: tuple[int, ...]) -> dict[str, Any]:
    """The rule that does `action` on these exit codes."""
    on = {"containerName": "cnn-archs", "operator": "In", "values": list(codes)}
    return {"action": action, "onExitCodes": on}


def pod_spec(request: JobRequest, image: str, volume: str) -> dict[str, Any]:
    """What runs on a node."""
    container: dict[str, Any] = {
        "name": "cnn-archs",
        "image": image,
        "command": ["cnn-archs", *pod_command(request)],
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
        "terminationGracePeriodSeconds": TERMINATION_SECONDS,
        "containers": [container],
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": volume}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},  # for NCCL, which takes much
        ],
    }


def pod_command(request: JobRequest) -> tuple[str, ...]:
    """The command of each pod, by its index."""
    if request.command[0] == "sweep":
        return request.part_command(POD_INDEX)
    if request.nodes == 1:
        return request.command
    first = f"{request.name}-pods-0-0.{request.name}:{PORT}"
    number = (f"--num_processes={request.nodes}", f"--process_id={POD_INDEX}")
    return (*request.command, f"--coordinator={first}", *number)


def manifest_yaml(manifest: dict[str, Any]) -> str:
    """A manifest as people and kubectl read it."""
    return yaml.safe_dump(manifest, sort_keys=False).rstrip()
