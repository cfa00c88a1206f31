"""The scripts for SLURM requeue stopped jobs, and the manifests for Kubernetes are valid."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.launch import job, slurm
from cnn_archs.planning import pod_needs
from cnn_archs.runtime.files import lock
from cnn_archs.runtime.signals import stop_requests

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ("--config=lenet5_digits",)
SWEEP = ("--sweep=degradation:quick",)
PODS = ("--cluster=kubernetes", "--image=some/image:1", "--volume=runs")
PLAN = {  # of a training whose images are decoded: the part of the document that pods are made of
    "kind": "h200",
    "input": {"wanted": 16_000.0, "images_per_second_a_core": 500.0},
    "reading": {"bytes_sent_a_step": 100_000_000},
    "memory": {
        "parts": {"parameters": 10**8, "optimizer": 10**8, "statistics": 0, "dataset": 0},
        "training": 9 * 10**9,
        "evaluation": 3 * 10**9,
    },
}


@pytest.fixture(autouse=True)
def planned(request, monkeypatch):
    """Record the calls of `plan`, which return PLAN at once, in all tests but slow ones."""
    calls = []

    def plan(*words):
        calls.append(words)
        return PLAN

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(pod_needs, "plan_in_own_process", plan)
    return calls


# Command lines.

WRONG = {
    "": ("--config=EXPERIMENT", "--sweep=SWEEP"),
    "--config=lenet5_digits --sweep=degradation": ("either --config=EXPERIMENT or --sweep=SWEEP",),
    "--config=lenet5_digit": ("did you mean 'lenet5_digits'?",),
    "--config=lenet5_digits --config.epoch=3": ("did you mean 'epochs'?",),
    "--config=lenet5_digits --jobs=2": ("--jobs", "--sweep=SWEEP"),
    "--config=lenet5_digits --seeds=2": ("--seeds", "--sweep=SWEEP"),
    "--config=lenet5_digits --processes=2": ("--processes", "--sweep=SWEEP"),
    "--config=lenet5_digits --nodes=0": ("--nodes=0", "at least 1"),
    "--config=lenet5_digits --gpus_per_node=-1": ("--gpus_per_node=-1", "at least 0"),
    "--config=lenet5_digits --hours=0.01": ("--hours=0.01", "two minutes"),
    "--config=lenet5_digits --hours=nan": ("--hours=nan", "two minutes"),
    "--config=lenet5_digits --slurm.time=9": ("--slurm.time", "--help"),
    "--config=lenet5_digits --slurm.ntasks_per_node=9 --dry_run": ("--slurm.ntasks-per-node",),
    "--config=lenet5_digits --cluster=kubernetes --image=x --volume=x --workdir=/a": (
        "must not be /",
    ),
    "--config=lenet5_digits --image=x": ("--image", "--cluster=kubernetes"),
    "--config=lenet5_digits --cluster=kubernetes --image=x": ("--volume",),
    "--config=lenet5_digits --cluster=kubernetes --image=x --volume=x --hours=3": ("--hours",),
    "--config=lenet5_digits --cluster=kubernetes --slurm.qos=x": ("--slurm", "--cluster=slurm"),
    "--config=lenet5_digits --cluster=kubernetes --image=x --volume=x --workdir=/runs/A_1": (
        *("A_1", "JobSet"),
    ),
    "--config=lenet5_digits --cluster=kubernetes --image=x --volume=x --workdir=a": ("absolute",),
    "--config=lenet5_digits --cluster=kubernetes --image=x --volume=x --workdir=/a/b --kind=h20": (
        *("--kind=h20", "did you mean h200?"),
    ),
    "--config=lenet5_digits --kind=h200": ("--kind", "--cluster=kubernetes"),
    "--sweep=degradatoin": ("did you mean 'degradation'?",),
    "--sweep=degradation:quick --jobs=99": ("--jobs=99", "cells"),
    "--sweep=degradation:quick --cells=plain20 --jobs=3": ("--jobs=3", "2 cells"),
    "--sweep=degradation:quick --cells=plan20": ("did you mean 'plain20'?",),
    "--config=lenet5_digits --cells=plain20": ("--cells", "--sweep=SWEEP"),
    "--sweep=degradation:quick --nodes=2": ("--nodes", "--jobs=N"),
    "--sweep=degradation:quick --config.stepz=2": ("did you mean 'steps'?",),
}


@pytest.mark.parametrize("line", WRONG)
def test_a_mistake_is_found_before_anything_is_submitted(line, tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(tmp_path)
    message = error_of(2, "submit", *line.split())
    assert all(word in message for word in WRONG[line]), message
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_config_is_found_before_anything_is_submitted(tmp_path, capsys):
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "config.json").write_text(
        configs.load_config("lenet5_digits", ["seed=1"]).to_json()
    )
    flags = (*DIGITS, f"--workdir={tmp_path}", "--dry_run")
    assert cli.main(["submit", *flags]) == 2
    assert "holds a run with another config (seed)" in capsys.readouterr().err
    assert cli.main(["submit", *flags, "--config.seed=1"]) == 0


def test_where_there_is_no_slurm_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["submit", *DIGITS, f"--workdir={tmp_path}/run"]) == 2
    assert "no sbatch here" in capsys.readouterr().err


HOSTILE = "x\n\r\x1b\x85\u2028"


@pytest.mark.parametrize("character", HOSTILE[1:])
def test_a_word_that_would_end_a_line_of_the_script_is_refused(character, tmp_path, capsys):
    for flag in (
        *(f"--workdir={tmp_path}/a{character}touch b", f"--slurm.comment=a{character}touch b"),
        *(f"--slurm.a{character}touch b", f"--config.data.data_dir=a{character}touch b"),
    ):
        assert cli.main(["submit", *DIGITS, flag, "--dry_run"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "cannot be printed" in err, err
    pods = ["submit", *DIGITS, *PODS, f"--workdir=/runs/a{character}b"]
    assert cli.main(pods) == 2


def test_a_pattern_of_slurm_is_refused_in_a_workdir(error_of):
    assert "without %" in error_of(2, "submit", *DIGITS, "--workdir=/runs/a%j", "--dry_run")


@pytest.mark.parametrize("key", ["a b=c", "a;b=c", "Partition=x", "=x", "", "-p=x", "a$(b)=c"])
def test_an_option_that_sbatch_cannot_have_is_refused(key, error_of):
    assert "--slurm.OPTION=VALUE" in error_of(2, "submit", *DIGITS, f"--slurm.{key}", "--dry_run")


def test_a_variable_of_the_pods_is_not_put_into_a_word_of_the_user(document_of):
    word = "--config.data.data_dir=/data/$(JOB_COMPLETION_INDEX)$$"
    pods = ("--workdir=/runs/lenet5", "--nodes=2", word)
    (container,) = pod_of(document_of("submit", *PODS, *DIGITS, *pods))["containers"]
    assert "--config.data.data_dir=/data/$$(JOB_COMPLETION_INDEX)$$$$" in container["command"]
    assert "--process_id=$(JOB_COMPLETION_INDEX)" in container["command"]


def pod_of(jobset):
    """Return the specification of a pod of a JobSet."""
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


# Scripts of SLURM.


def options(script):
    """Return {option: value} of the #SBATCH lines of a script."""
    lines = [line.split()[1] for line in script.splitlines() if line.startswith("#SBATCH")]
    return {
        name: shlex.join(shlex.split(value)) for name, _, value in (x.partition("=") for x in lines)
    }


def test_a_run_on_several_nodes_is_a_process_for_each_gpu(tmp_path, document_of):
    flags = (
        *("--nodes=2", "--gpus_per_node=8", "--hours=1.5", "--slurm.partition=gpu"),
        *("--slurm.exclusive", f"--workdir={tmp_path}/run", "--dry_run"),
    )
    script = document_of("submit", *DIGITS, *flags)["script"]
    found = options(script)
    wanted = {"--nodes": "2", "--ntasks-per-node": "8", "--gpus-per-node": "8", "--time": "90"}
    wanted |= {"--signal": "USR2@300", "--partition": "gpu", "--exclusive": "", "--requeue": ""}
    assert wanted.items() <= found.items() and "--array" not in found and "--wckey" not in found
    assert not (tmp_path / "run").exists()


def test_a_run_on_one_node_and_a_sweep_are_one_process(tmp_path, document_of):
    for flags in (DIGITS, (*SWEEP, "--jobs=3")):
        where = (f"--workdir={tmp_path}/run", "--gpus_per_node=8", "--dry_run")
        found = options(document_of("submit", *flags, *where)["script"])
        assert found["--ntasks-per-node"] == "1" and found["--gpus-per-node"] == "8"
    assert found["--array"] == "0-2%3"


def test_each_job_of_a_sweep_is_told_the_cells_and_seeds(tmp_path, document_of):
    flags = (*SWEEP, "--cells=residual20,plain20", "--seeds=1", "--jobs=2", "--processes=3")
    manifest = document_of("submit", *flags, f"--workdir={tmp_path}/run", *PODS)
    told = '"--cells=residual20,plain20", "--seeds=1", "--processes=3", "--part=$'
    assert told in json.dumps(manifest)


def test_a_sweep_of_one_job_waits_for_the_lock_that_it_holds(tmp_path, document_of):
    script = document_of("submit", *SWEEP, f"--workdir={tmp_path}/run", "--dry_run")["script"]
    assert "--array" not in script and '/part"${SLURM_ARRAY_TASK_ID:-0}"of1.lock' in script


def test_a_job_does_not_get_the_programs_of_another_processor(tmp_path, monkeypatch, document_of):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    document_of("submit", *DIGITS, f"--workdir={tmp_path}/run", "--dry_run")
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_short_limit_is_warned_of_later(tmp_path, document_of):
    flags = (f"--workdir={tmp_path}/run", "--hours=0.05", "--dry_run")
    found = options(document_of("submit", *DIGITS, *flags)["script"])
    assert (found["--time"], found["--signal"]) == ("3", "USR2@45")


def test_the_parts_of_a_sweep_hold_the_locks_that_are_waited_for(tmp_path):
    request = job.JobRequest("s", ("sweep", "--config=x"), tmp_path, 3, 1, 0, 1.0)
    assert request.part_command(2) == ("sweep", "--config=x", "--part=2/3")
    assert request.lock_name(2) == "part2of3.lock"
    assert job.JobRequest("s", ("train",), tmp_path, 1, 1, 0, 1.0).lock_name(0) == "lock"


@pytest.fixture
def script(tmp_path, document_of):
    """Return script(code, **environment), which runs a job's script whose srun exits with `code`.

    It returns the exit code of the script, its calls of scontrol, and whether it called srun.
    saves: a folder that srun makes in the folder of the run. said: a text on its stderr.
    """
    where = tmp_path / 'it\'s `touch a` $(touch b) "${HOME}" ;touch c'
    text = document_of("submit", *DIGITS, f"--workdir={where}/run", "--dry_run")["script"]
    (tmp_path / "bin").mkdir()
    (where / "run" / "jobs").mkdir(parents=True)

    def program(name, line):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def run(code, *, saves="", said="", **environment):
        made = shlex.quote(f"{where}/run/{saves}")
        # A file system's clock ticks every few milliseconds: the checkpoint must be seen as newer.
        work = f"sleep 0.05; mkdir -p {made}; exit {code}"
        program("srun", f'echo "$@" > {tmp_path}/srun.txt; {work}')
        program("scontrol", f'echo "$@" >> {tmp_path}/scontrol.txt')
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "SLURM_JOB_ID": "12", **environment}
        for file in ("srun.txt", "scontrol.txt"):
            (tmp_path / file).unlink(missing_ok=True)
        script = text.replace(" 600 ", " 0.3 ")
        done = subprocess.run(
            ["bash", "-c", script], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        assert not [name for name in "abc" if (tmp_path / name).exists()]
        assert said in done.stderr and bool(said) == bool(done.stderr), done.stderr
        asked = tmp_path / "scontrol.txt"
        return (
            done.returncode,
            asked.read_text().strip() if asked.exists() else "",
            (tmp_path / "srun.txt").exists(),
        )

    return run


def test_what_was_stopped_is_requeued_and_nothing_else(script):
    for step, code in enumerate((75, 140, 143), 1):
        saves = f"checkpoints/{step}"
        assert script(code, saves=saves) == (code, "requeue 12", True)
    for code in (0, 1, 2, 3, 4, 134, 137):
        assert script(code, saves=f"checkpoints/9{code}") == (code, "", True)


def test_a_job_that_has_saved_nothing_new_is_not_requeued(script, tmp_path):
    more = "submit again with more --hours"
    assert script(75, saves="checkpoints/8") == (75, "requeue 12", True)
    (place,) = tmp_path.glob("it's*")
    old = time.time() - 5
    os.utime(place / "run" / "checkpoints" / "8", (old, old))
    assert script(75, saves="checkpoints/8", said=more) == (75, "", True)
    unfinished = "checkpoints/16.orbax-checkpoint-tmp"
    assert script(143, saves=unfinished, said=more) == (143, "", True)
    assert script(75, saves="cell/seed1/checkpoints/4") == (75, "requeue 12", True)


def test_a_restarted_job_waits_for_the_lock_of_its_run(script, tmp_path):
    assert script(0, SLURM_RESTART_COUNT="1") == (0, "", True)
    (place,) = tmp_path.glob("it's*")
    with lock(place / "run" / "lock"):
        assert script(0) == (0, "", True)  # the first start says who holds it
        assert script(0, SLURM_RESTART_COUNT="1") == (75, "requeue 12", False)
    assert script(0, SLURM_RESTART_COUNT="1") == (0, "", True)


def test_a_lock_that_never_goes_ends_the_job(script, tmp_path):
    (place,) = tmp_path.glob("it's*")
    for _ in range(2):  # what was waited before is forgotten once the job has run or ended
        with lock(place / "run" / "lock"):
            for _ in range(slurm.LOCK_WAITS - 1):
                assert script(0, SLURM_RESTART_COUNT="1") == (75, "requeue 12", False)
            held = "is still held by another process"
            assert script(0, SLURM_RESTART_COUNT="1", said=held) == (75, "", False)
            assert script(0, SLURM_RESTART_COUNT="1") == (75, "requeue 12", False)
        assert script(0, SLURM_RESTART_COUNT="1") == (0, "", True)


# Manifests of Kubernetes: what there is in JobSet v1alpha2 and Kubernetes 1.34, with its type.
# A `?` stands after what may be left out.

TEXT, COUNT, TRUTH = str, int, bool
EXIT_CODES = {"containerName?": TEXT, "operator": TEXT, "values": [COUNT]}
POD_RULE = {"action": TEXT, "onExitCodes?": EXIT_CODES}
JOBSET_RULE = {"name": TEXT, "action": TEXT, "onJobFailureReasons?": [TEXT]}
CONTAINER = {
    "name": TEXT,
    "image": TEXT,
    "command?": [TEXT],
    "resources?": {
        "limits?": {"nvidia.com/gpu": COUNT},
        "requests?": {"cpu": TEXT, "memory": TEXT},
    },
    "volumeMounts?": [{"name": TEXT, "mountPath": TEXT}],
}
VOLUME = {
    "name": TEXT,
    "persistentVolumeClaim?": {"claimName": TEXT},
    "emptyDir?": {"medium?": TEXT},
}
POD = {
    "restartPolicy": TEXT,
    "terminationGracePeriodSeconds?": COUNT,
    "shareProcessNamespace?": TRUTH,
    "containers": [CONTAINER],
    "volumes?": [VOLUME],
}
JOB = {
    "completionMode?": TEXT,
    "completions?": COUNT,
    "parallelism?": COUNT,
    "backoffLimit?": COUNT,
    "backoffLimitPerIndex?": COUNT,
    "podFailurePolicy?": {"rules": [POD_RULE]},
    "template": {"spec": POD},
}
JOBSET = {
    "apiVersion": TEXT,
    "kind": TEXT,
    "metadata": {"name": TEXT},
    "spec": {
        "network?": {"enableDNSHostnames?": bool},
        "failurePolicy?": {"maxRestarts?": COUNT, "rules?": [JOBSET_RULE]},
        "replicatedJobs": [{"name": TEXT, "replicas?": COUNT, "template": {"spec": JOB}}],
    },
}


def check(value, schema, where="JobSet"):
    """Assert that `value` has the fields of `schema` and no others."""
    if isinstance(schema, list):
        assert isinstance(value, list) and value, where
        for i, item in enumerate(value):
            check(item, schema[0], f"{where}[{i}]")
    elif isinstance(schema, dict):
        assert isinstance(value, dict), where
        assert value.keys() <= {key.rstrip("?") for key in schema}, where
        for key, inner in schema.items():
            assert key.endswith("?") or key in value, f"{where}.{key}"
            if key.rstrip("?") in value:
                check(value[key.rstrip("?")], inner, f"{where}.{key.rstrip('?')}")
    else:
        assert type(value) is schema, where


MANIFESTS = {
    "one node": (*DIGITS, "--workdir=/runs/lenet5"),
    "two nodes": (*DIGITS, "--workdir=/runs/lenet5", "--nodes=2", "--gpus_per_node=8"),
    "a sweep": (*SWEEP, "--workdir=/runs/degradation", "--jobs=4", "--gpus_per_node=1"),
}


MADE: dict[str, Any] = {}  # the JobSets that `manifest` has made


@pytest.fixture(params=MANIFESTS)
def manifest(request, document_of):
    """Return (JobSet, spec of its Job, spec of a pod) of each kind of job."""
    if request.param not in MADE:
        MADE[request.param] = document_of("submit", *PODS, *MANIFESTS[request.param])
    found = MADE[request.param]
    spec = found["spec"]["replicatedJobs"][0]["template"]["spec"]
    return found, spec, spec["template"]["spec"]


def test_a_manifest_has_the_fields_of_a_jobset_and_no_others(manifest):
    check(manifest[0], JOBSET)
    assert (manifest[0]["apiVersion"], manifest[0]["kind"]) == (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
    )


def test_a_manifest_says_what_the_controllers_accept(manifest):
    jobset, spec, pod = manifest
    (container,), (job,) = pod["containers"], jobset["spec"]["replicatedJobs"]
    indexed = spec["completionMode"] == "Indexed"
    assert indexed or spec["completionMode"] == "NonIndexed"
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy and backoffLimitPerIndex ask for that
    assert "backoffLimitPerIndex" not in spec or indexed
    for rule in spec["podFailurePolicy"]["rules"]:
        values = rule["onExitCodes"]["values"]
        assert rule["action"] in ("FailJob", "FailIndex", "Ignore", "Count")
        assert rule["action"] != "FailIndex" or "backoffLimitPerIndex" in spec
        assert rule["onExitCodes"]["operator"] in ("In", "NotIn") and 0 not in values
        assert (
            values == sorted(set(values))
            and rule["onExitCodes"]["containerName"] == container["name"]
        )
    actions = {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"}
    for rule in jobset["spec"]["failurePolicy"].get("rules", []):
        assert rule["action"] in actions and rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    longest = f"{jobset['metadata']['name']}-{job['name']}-0-{spec['completions'] - 1}-abcde"
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", longest) and len(longest) <= 63


def resources(manifest):
    """Return the resources of the pods of a JobSet."""
    pod = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    return pod["containers"][0]["resources"]


def test_pods_ask_for_the_cores_and_the_memory_of_the_plan(document_of, planned):
    found = resources(document_of("submit", *PODS, *MANIFESTS["two nodes"]))
    assert planned == [("lenet5_digits", (), ("--kind=h200", "--devices=16"))]
    # 16,000 images per second are 8,000 a node, and so 16 cores beside that of the process.
    # 4 GB, twice 0.2 of the state, 8 batches of 50 MB, and one GB for each GPU: 12.8 GB.
    assert found["requests"] == {"cpu": "17", "memory": "12Gi"}
    assert found["limits"] == {"nvidia.com/gpu": 8}


def test_the_pods_of_a_sweep_ask_for_each_gpu_what_its_largest_network_needs(document_of, planned):
    flags = (*SWEEP, "--workdir=/runs/x", "--jobs=4", "--gpus_per_node=2", "--kind=l4")
    found = resources(document_of("submit", *PODS, *flags, "--cells=plain20,plain44"))
    ((experiment, _, flags),) = planned
    assert experiment.endswith("plain44") and flags == ("--kind=l4", "--devices=1")
    assert found["requests"] == {"cpu": "66", "memory": "12Gi"}  # twice 33, and 4 + 0.4 + 0.8 + 1


def test_a_cpu_holds_what_a_device_would_and_decodes_nothing_that_is_resident():
    whole = {**PLAN, "kind": "cpu", "input": None}
    assert pod_needs.pod_needs(whole, 1, 0, 1) == (1, 14_200_000_000)


@pytest.mark.slow
def test_pods_ask_for_what_a_real_plan_says(document_of, capsys):
    found = resources(document_of("submit", *PODS, *MANIFESTS["one node"]))
    assert found["requests"] == {"cpu": "1", "memory": "4Gi"}
    folder = ("--config.data.name=image_folder", "--config.data.data_dir=/only/in/pods")
    capsys.readouterr()
    assert cli.main(["submit", *PODS, *DIGITS, "--workdir=/runs/x", *folder]) == 0
    printed = capsys.readouterr()
    assert "note: the pods ask for no CPUs and no memory; plan: data.data_dir" in printed.err
    assert "requests" not in printed.out and "JobSet" in printed.out


def test_a_stopped_pod_starts_again_and_a_hopeless_one_does_not(manifest):
    jobset, spec, _ = manifest
    hopeless = [c for r in spec["podFailurePolicy"]["rules"] for c in r["onExitCodes"]["values"]]
    assert 75 not in hopeless and {3, 4} <= set(hopeless)
    again = spec.get("backoffLimitPerIndex") or jobset["spec"]["failurePolicy"]["maxRestarts"]
    assert again >= 100


def test_the_processes_of_pods_have_a_number_and_a_meeting_place(manifest):
    jobset, spec, pod = manifest
    (container,) = pod["containers"]
    words = [w.replace("$(JOB_COMPLETION_INDEX)", "1") for w in container["command"]]
    assert words[0] == "cnn-archs" and words[1] in ("train", "sweep")
    arguments, _ = cli.parse(words[1:])
    if arguments.command == "sweep":
        assert arguments.part == "1/4" == f"1/{spec['completions']}"
    elif spec["completionMode"] == "NonIndexed":  # an index says to jax that there are others
        assert spec["completions"] == 1 and not arguments.coordinator
    else:
        name = jobset["metadata"]["name"]  # pods: JobSet-Job-its number-index.JobSet
        assert arguments.coordinator == f"{name}-pods-0-0.{name}:1234"
        assert (arguments.num_processes, arguments.process_id) == (2, 1) and spec[
            "parallelism"
        ] == 2
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}


def test_the_text_of_a_manifest_is_yaml(capsys, document_of):
    flags = (*PODS, *MANIFESTS["two nodes"])
    assert cli.main(["submit", *flags]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == document_of("submit", *flags)


# TPU pods: the page of commands.

PAGE = re.sub(r"\\\n *", "", (ROOT / "docs" / "tpu_pod.md").read_text())
LINES = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]
GCLOUD = {  # of gcloud's reference: the flags that we use, and which of them it requires
    "tpu-vm create": ({"zone", "accelerator-type", "version"}, {"accelerator-type", "version"}),
    "tpu-vm scp": ({"zone", "worker", "recurse"}, set()),
    "tpu-vm ssh": ({"zone", "worker", "command"}, {"command"}),
    "tpu-vm delete": ({"zone"}, set()),
    "queued-resources create": (
        {"zone", "node-id", "accelerator-type", "runtime-version", "spot"},
        {"node-id", "accelerator-type", "runtime-version"},
    ),
    "queued-resources describe": ({"zone"}, set()),
    "queued-resources delete": ({"zone", "force"}, set()),
}


@pytest.mark.parametrize("line", [line for line in LINES[1:] if line != "pip wheel --no-deps ."])
def test_a_line_of_the_tpu_page_is_one_of_gcloud(line):
    words = shlex.split(line)
    assert words[:3] == ["gcloud", "compute", "tpus"]
    known, required = GCLOUD[f"{words[3]} {words[4]}"]
    flags = dict(word[2:].partition("=")[::2] for word in words if word.startswith("--"))
    places = [word for word in words[5:] if not word.startswith("--")]
    assert required <= flags.keys() <= known and flags["zone"] == "$ZONE"
    assert len(places) == (2 if words[4] == "scp" else 1) and any("$NAME" in p for p in places)
    assert all(flags[flag] == "" for flag in {"recurse", "spot", "force"} & flags.keys())


def test_our_commands_on_the_tpu_page_are_well_formed():
    used = set(re.findall(r"\$(\w+)", "\n".join(LINES[1:])))
    assert used == {w.partition("=")[0] for w in LINES[0].split()[1:]}
    commands = [w.partition("=")[2] for line in LINES for w in shlex.split(line) if "command=" in w]
    ours = [shlex.split(c)[1:] for c in commands if c.startswith("venv/bin/cnn-archs ")]
    assert {words[0] for words in ours} == {"train", "report"}
    for words in ours:
        arguments, overrides = cli.parse(words)
        if words[0] == "train":
            config = configs.load_config(arguments.config, overrides)
            assert config.model.dtype == "bfloat16"
    from cnn_archs.runtime import environment

    wheel = f"cnn_archs-{environment.package_version('cnn-archs')}-py3-none-any.whl"
    assert any(f"'./{wheel}[tpu]'" in command for command in commands)


# The process that SLURM starts.


def test_the_signal_before_the_limit_is_one_to_stop(monkeypatch):
    def train(arguments):
        signal.raise_signal(signal.SIGUSR2)
        with stop_requests() as stop:  # what came while jax was imported is not lost
            assert stop
            signal.raise_signal(signal.SIGTERM)  # and a second one is no haste
        return 75

    monkeypatch.setattr("sys.argv", [])
    before = signal.getsignal(signal.SIGUSR2)
    with pytest.raises(SystemExit) as e:
        job.run_job(train, ("train",))
    assert e.value.code == 75 and signal.getsignal(signal.SIGUSR2) is before


def test_a_library_that_takes_the_signals_does_not_keep_them():
    with stop_requests() as outer:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with stop_requests() as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop is outer and stop
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_submitit_keeps_the_command_and_its_exit_code(tmp_path):
    started = (
        slurm.import_submitit()
        .LocalExecutor(tmp_path)
        .submit(job.run_job, cli.main, ("train", "--wrong"))
    )
    started.wait()
    assert started.stderr().startswith("error: unrecognized arguments: --wrong")
    assert started._process.wait(10) == 0 and not started.paths.result_pickle.exists()
