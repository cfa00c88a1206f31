"""TensorBoard event files are written as well as the disk allows, and never stop a training."""

import json
import resource
import time

import pytest
from run_logs import log_lines
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from cnn_archs import config as configs
from cnn_archs.experiment import resolve
from cnn_archs.training import loop
from cnn_archs.training.event_file import EventFiles

SAID = "cannot write the TensorBoard events in "


def events(folder):
    """Yield the events in the files of `folder`."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            yield Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]


def hparams(event):
    """Return {key: value} of the event with which TensorBoard's HParams begin a session."""
    (value,) = event.summary.value
    assert value.tag == "_hparams_/session_start_info"
    content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    kinds = ("number_value", "string_value", "bool_value")
    return {
        key: next(getattr(v, kind) for kind in kinds if v.HasField(kind))
        for key, v in content.session_start_info.hparams.items()
    }


def test_the_values_are_in_the_file_and_later_ones_of_older_files_are_hidden(tmp_path):
    files = EventFiles(tmp_path / "board", (0, 1), 7, {"epochs": 2.0, "data.shape": (3, 4)})
    files.write_scalar(0, "train/loss", 0.5, 8, now=1e9)
    files.write_scalar(1, "train/loss", 0.75, 8, now=1e9)
    files.write_scalar(0, "train/loss", 0.25, 9, now=1e9 + 1)
    files.flush()
    for seed, values in ((0, [(8, 0.5, 1e9), (9, 0.25, 1e9 + 1)]), (1, [(8, 0.75, 1e9)])):
        first, *others, started = list(events(tmp_path / "board" / f"seed{seed}"))[:4]
        assert first.file_version == "brain.Event:2"
        assert [e.step for e in others] == [7, 7] and others[1].session_log.status == 1
        assert hparams(started) == {"epochs": 2.0, "data.shape": "(3, 4)", "seed": float(seed)}
        scalars = list(events(tmp_path / "board" / f"seed{seed}"))[4:]
        assert {v.tag for e in scalars for v in e.summary.value} == {"train/loss"}
        assert [(e.step, e.summary.value[0].simple_value, e.wall_time) for e in scalars] == values


def test_a_run_of_more_seeds_than_a_process_may_open_files_has_its_events(tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        EventFiles(tmp_path, range(100), 0, {}).flush()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(list(tmp_path.glob("seed*/events*"))) == 100 and capsys.readouterr().err == ""


def test_on_a_full_disk_it_says_so_once_and_goes_on(tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    files = EventFiles(tmp_path / "board", (0, 1), 0, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for step in range(1000):  # far more than the buffers of a writer hold
            files.write_scalar(0, "train/loss", 0.5, step, now=1e9)
            files.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    err = capsys.readouterr().err
    assert err.startswith(f"{SAID}{tmp_path / 'board'}: File too large; ") and err.count("\n") == 1


def test_a_training_without_a_place_for_its_events_is_whole(tmp_path, capsys):
    few = ["model.name=mlp", "model.hidden=(3,)", "eval_batch_size=400", "log_every=1", "steps=30"]
    (tmp_path / "tensorboard").touch()  # no folder can be made there
    began = time.time()
    loop.train(resolve(configs.load_config("lenet5_digits", few)), tmp_path)
    steps = [line["step"] for line in log_lines(tmp_path) if line["split"] == "train"]
    assert steps == list(range(1, 31))
    log = (tmp_path / "metrics.jsonl").read_text()
    times = [json.loads(line)["time"] for line in log.splitlines()]
    assert [round(began, 3), *times] == sorted([round(began, 3), *times])
    assert times[-1] <= round(time.time(), 3) and times[0] < times[-1]
    assert (tmp_path / "result.json").exists() and (tmp_path / "checkpoints" / "30").is_dir()
    assert capsys.readouterr().err.count(SAID) == 1


@pytest.mark.parametrize("wrong", [b"", b"x"])
def test_an_old_file_that_is_damaged_is_left_alone(wrong, tmp_path):
    old = tmp_path / "seed0" / "events.out.tfevents.1.host"
    old.parent.mkdir()
    old.write_bytes(wrong)
    EventFiles(tmp_path, (0,), 0, {})
    assert old.read_bytes() == wrong and len(list(old.parent.iterdir())) == 2
