"""Files that torch, DataParallel, Lightning and others write are read; no code in them runs."""

import io
import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cnn_archs.conversion import state_dicts, torch_file
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.training import weights_file

WANTED = {"conv1.weight", "bn1.weight", "bn1.running_mean", "fc.weight"}


def values():
    """Numbers that all precisions have, so that equality is exact."""
    state = {"conv1.weight": torch.arange(24.0).reshape(2, 3, 2, 2) / 8}
    state |= {
        "bn1.weight": torch.tensor([1.5, -2.0]),
        "bn1.running_mean": torch.tensor([0.25, 4.0]),
    }
    return state | {"bn1.num_batches_tracked": torch.tensor(7), "fc.weight": torch.ones(3, 2)}


def under(prefix, state=None):
    return {prefix + name: value for name, value in (state or values()).items()}


def with_optimizer():
    """A checkpoint of a whole training, whose optimizer has tensors under names of its own."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    return {"epoch": 3, "optimizer": optimizer.state_dict(), "model": values(), "acc": 91.2}


def as_type(dtype):
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in values().items()}


FILES = {
    "a state dict": values,
    "parameters": lambda: {k: torch.nn.Parameter(v, False) for k, v in values().items()},
    "akamaster's": lambda: {"state_dict": under("module."), "best_prec1": 91.78},
    "torchvision's references": with_optimizer,
    "the tutorial's": lambda: {"epoch": 1, "model_state_dict": values(), "loss": torch.tensor(1.0)},
    "lightning's": lambda: {
        "state_dict": {**under("net."), "criterion.weight": torch.ones(3)},
        "pytorch-lightning_version": "2.5",
        "callbacks": {},
    },
    "compiled and parallel": lambda: under("module._orig_mod."),
    "one under an unknown key": lambda: {"best": values(), "epoch": 1},
    "one inside of another": lambda: {"model": {"state_dict": values()}},
    "half precision": lambda: as_type(torch.float16),
    "bfloat16": lambda: as_type(torch.bfloat16),
    "double precision": lambda: as_type(torch.float64),
    "not contiguous": lambda: {**values(), "fc.weight": torch.ones(2, 3).T},
}


PREFIXES = {"akamaster's": "module.", "lightning's": "net.", "compiled and parallel": "module._"}
TYPES = {"half precision": "float16", "bfloat16": "bfloat16", "double precision": "float64"}


def read(path):
    state = state_dicts.find_state(torch_file.read_torch(path), path)
    return settled(state, path)


def settled(state, path):
    state, stripped = state_dicts.without_prefix(state, WANTED, path)
    state, converted = state_dicts.as_float32(state, path)
    return state, stripped + converted


@pytest.mark.parametrize("zip_file", [True, False], ids=["zip", "pickle"])
@pytest.mark.parametrize("kind", FILES)
def test_a_state_dict_is_found_with_its_names_and_values(kind, zip_file, tmp_path):
    path = tmp_path / "x.pth"
    torch.save(FILES[kind](), path, _use_new_zipfile_serialization=zip_file)
    assert torch_file.is_torch_file(path)
    state, notes = read(path)
    assert state.keys() == values().keys()
    for name, value in values().items():
        np.testing.assert_array_equal(state[name], value.numpy(), strict=True)
    said = " ".join(notes)
    if prefix := PREFIXES.get(kind):
        assert f"the prefix {prefix}" in said
    assert ("criterion.weight" in said) == (kind == "lightning's")
    if dtype := TYPES.get(kind):
        assert f"are {dtype}; they become float32" in said
    assert ("rounded" in said) == (kind == "double precision")


def test_safetensors_have_prefixes_and_precisions_too(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(under("module.", as_type(torch.bfloat16)), path)
    assert not torch_file.is_torch_file(path)
    state, _ = settled(weights_file.read_safetensors(path), path)
    for name, value in values().items():
        np.testing.assert_array_equal(state[name], value.numpy(), strict=True)


def test_a_header_whose_length_looks_like_a_pickle_is_one_of_safetensors(tmp_path):
    for names in range(1, 40):
        save_file({f"{i:03}" * 9: torch.ones(1) for i in range(names)}, tmp_path / "x")
        assert not torch_file.is_torch_file(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\x80\x02" + bytes(6) + b"{" + bytes(700))
    assert not torch_file.is_torch_file(tmp_path / "x")


def test_two_networks_in_one_file_are_refused():
    both = {**under("student."), **under("teacher.")}
    arrays = {name: value.numpy() for name, value in both.items()}
    with pytest.raises(ConfigError, match=r"several networks, under student\. and teacher\."):
        state_dicts.without_prefix(arrays, WANTED, Path("x"))


@pytest.mark.parametrize(
    "content, message",
    [
        ([torch.ones(1)], "holds a list, not the state dict of a network"),
        ({"epoch": 3}, r"holds no state dict \(its keys: epoch\): save the network's state_dict"),
        ({"a": values(), "b": values()}, r"holds several state dicts \(its keys: a, b\)"),
        ({}, r"no state dict \(its keys: none\)"),
    ],
)
def test_what_holds_no_network_is_refused_with_what_it_holds(content, message, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "x.pth")


class Harmful:
    """An object whose unpickling makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_in_a_file_is_run(tmp_path):
    harm = Harmful(tmp_path / "made")
    torch.save({"state_dict": values(), "x": harm}, tmp_path / "zip.pth")
    torch.save([harm], tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(harm))
    for name in ("zip", "old", "bare"):
        with pytest.raises(DataError, match=f"{name}.pth cannot be read: it (holds|is not)"):
            read(tmp_path / f"{name}.pth")
    assert not (tmp_path / "made").exists()


def test_a_whole_module_is_refused_with_the_way_to_save_its_weights(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pth")
    message = r"an object of Python, torch\.nn\.modules\.linear\.Linear, .*state_dict\(\), FILE\)"
    with pytest.raises(DataError, match=message):
        read(tmp_path / "x.pth")


def test_a_damaged_file_is_one_line(tmp_path):
    file = io.BytesIO()
    torch.save(values(), file)
    sound, path = file.getvalue(), tmp_path / "x.pth"
    for content in (sound[:-1], sound[: len(sound) // 2], b"PK\x03\x04" + bytes(100), b"\x80\x02"):
        path.write_bytes(content)
        with pytest.raises(DataError) as e:
            read(path)
        assert "\n" not in str(e.value) and str(e.value).startswith(f"{path} ")


def test_without_torch_one_line_says_what_to_install(tmp_path, monkeypatch):
    torch.save(values(), tmp_path / "x.pth")
    monkeypatch.setitem(sys.modules, "torch", None)  # as the import of what is not installed
    with pytest.raises(ConfigError) as e:
        torch_file.read_torch(tmp_path / "x.pth")
    assert re.fullmatch(r".*x\.pth is a file of torch, .*: pip install torch, or .*", str(e.value))
