"""TensorBoard event files are written as well as the disk allows, and never stop a training."""

import json
import resource

import pytest
from tensorboardX.proto.event_pb2 import Event

from cnn_archs import config as configs
from cnn_archs.experiment import resolve
from cnn_archs.training import loop
from cnn_archs.training.event_file import EventFile

SAID = "cannot write the TensorBoard events in "


def events(folder):
    """Yield the events in the files of `folder`."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            yield Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]


def test_the_values_are_in_the_file_and_later_ones_of_older_files_are_hidden(tmp_path):
    file = EventFile(tmp_path / "board", purge_step=7)
    file.write_scalar("train/loss/seed0", 0.5, 8)
    file.write_scalar("train/loss/seed0", 0.25, 9)
    file.close()
    first, *others = events(tmp_path / "board")
    assert first.file_version == "brain.Event:2"
    assert [e.step for e in others] == [7, 7, 8, 9] and others[1].session_log.status == 1
    found = [(v.tag, v.simple_value) for e in others for v in e.summary.value]
    assert found == [("train/loss/seed0", 0.5), ("train/loss/seed0", 0.25)]


def test_on_a_full_disk_it_says_so_once_and_goes_on(tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = EventFile(tmp_path / "board", purge_step=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for step in range(1000):  # far more than the buffers of a writer hold
            file.write_scalar("train/loss/seed0", 0.5, step)
            file.flush()
        file.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    err = capsys.readouterr().err
    assert err.startswith(f"{SAID}{tmp_path / 'board'}: File too large; ") and err.count("\n") == 1


def test_a_training_without_a_place_for_its_events_is_whole(tmp_path, capsys):
    few = ["model.name=mlp", "model.hidden=(3,)", "eval_batch_size=400", "log_every=1", "steps=30"]
    (tmp_path / "tensorboard").touch()  # no folder can be made there
    loop.train(resolve(configs.load_config("lenet5_digits", few)), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 31))
    assert (tmp_path / "result.json").exists() and (tmp_path / "checkpoints" / "30").is_dir()
    assert capsys.readouterr().err.count(SAID) == 1


@pytest.mark.parametrize("wrong", [b"", b"x"])
def test_an_old_file_that_is_damaged_is_left_alone(wrong, tmp_path):
    (tmp_path / "events.out.tfevents.1.host").write_bytes(wrong)
    EventFile(tmp_path, purge_step=0).close()
    assert (tmp_path / "events.out.tfevents.1.host").read_bytes() == wrong
