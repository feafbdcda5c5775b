"""Files of weights of every format load with notes; what does not fit leaves the module unchanged."""

import json
import struct
import subprocess
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from torch import nn

from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import CheckpointError

STATE = OrderedDict(weight=torch.arange(6.0).view(2, 3), bias=torch.ones(2))


def saved(path, value, **how):
    torch.save(value, path, **how)
    return path


class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)


# --- what loads ---------------------------------------------------------------------------------------------------


SHARED = torch.zeros(2**8)

GOOD = {
    "safetensors": lambda path: path.write_bytes(safetensors.torch.save(dict(STATE))),
    "zip": lambda path: saved(path, STATE),
    "legacy": lambda path: saved(path, STATE, _use_new_zipfile_serialization=False),
    "parameters": lambda path: saved(path, dict(Net().named_parameters()) | STATE),
    "module.": lambda path: saved(path, {f"module.{name}": value for name, value in STATE.items()}),
    "module.model.": lambda path: saved(path, {f"module.model.{name}": value for name, value in STATE.items()}),
    "_orig_mod.": lambda path: saved(path, {f"_orig_mod.{name}": value for name, value in STATE.items()}),
    "trainer": lambda path: saved(
        path, {"epoch": 3, "best": torch.tensor(1.0), "state_dict": STATE, "arch": "resnet18"}
    ),
    "model": lambda path: saved(path, {"model": STATE, "optimizer": {"state": {}}}),
    "model_state_dict": lambda path: saved(path, {"model_state_dict": STATE, "lr": 0.1, 3: None}),
    "averaged": lambda path: saved(path, {"state_dict_ema": STATE}),
    "twice": lambda path: saved(path, {"model": {"state_dict": STATE}}),
    "half": lambda path: saved(path, {name: value.half() for name, value in STATE.items()}),
    "bfloat16": lambda path: saved(path, {name: value.bfloat16() for name, value in STATE.items()}),
    "transposed": lambda path: saved(path, STATE | {"weight": STATE["weight"].T.contiguous().T}),
    "slice": lambda path: saved(path, STATE | {"weight": torch.cat([STATE["weight"]] * 2, 1)[:, :3]}),
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("ending", [".pth", ".safetensors", ""])
def test_the_content_decides_the_format_not_the_suffix(kind, ending, tmp_path):
    GOOD[kind](path := tmp_path / f"net{ending}")
    loaded = checkpoint.load(path)
    assert list(loaded.state) == ["weight", "bias"] or kind in ("safetensors", "trainer")
    for name, value in STATE.items():
        assert torch.equal(loaded.state[name].float(), value)
    module = Net()
    checkpoint.install(loaded, module)
    assert torch.equal(module.weight, STATE["weight"])
    assert module.weight.dtype == torch.float32
    assert module.weight.requires_grad


@pytest.mark.parametrize(
    ("kind", "form", "notes"),
    [
        ("safetensors", "safetensors", ()),
        ("zip", "torch zip", ()),
        ("legacy", "torch legacy", ()),
        ("trainer", "torch zip", ("took 'state_dict'",)),
        ("module.model.", "torch zip", ("dropped the prefix 'module.model.' of every name",)),
        ("half", "torch zip", ("stored as float16",)),
    ],
)
def test_format_and_notes(kind, form, notes, tmp_path):
    GOOD[kind](path := tmp_path / "net")
    loaded = checkpoint.load(path)
    assert (loaded.format, loaded.notes, loaded.path) == (form, notes, str(path))


def test_sha256_is_that_of_the_file(tmp_path):
    (path := tmp_path / "net").write_bytes(safetensors.torch.save(dict(STATE)))
    sums = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert checkpoint.load(path).sha256 == sums.split()[0]


def test_plain_weights_before_averaged_ones(tmp_path):
    averaged = {name: value + 1 for name, value in STATE.items()}
    loaded = checkpoint.load(saved(tmp_path / "net.pth", {"state_dict_ema": averaged, "state_dict": STATE}))
    assert torch.equal(loaded.state["bias"], STATE["bias"])
    assert loaded.notes == ("took 'state_dict', left 'state_dict_ema'",)


def test_entries_that_are_no_tensors_are_left_out_with_a_note(tmp_path):
    loaded = checkpoint.load(saved(tmp_path / "net.pth", STATE | {"epoch": 3, 7: torch.ones(1)}))
    assert list(loaded.state) == ["weight", "bias"]
    assert loaded.notes == ("left out 2 entries that are no tensors by name",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2])
def test_numbers_that_are_not_finite_are_counted(dtype, tmp_path):
    bad = torch.tensor([0.0, float("nan"), float("inf"), 1.0]).to(dtype)
    loaded = checkpoint.load(saved(tmp_path / "net.pth", {"good": torch.ones(3), "bad": bad}))
    assert loaded.notes[-1] == "2 numbers are NaN or infinite, in 'bad'"


def test_a_length_that_looks_like_another_format_is_still_safetensors(tmp_path):
    for first in (0x80, 0x3C20):
        value = {"metadata": "x"}
        tensors = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": value}
        value["metadata"] += " " * (first - len(json.dumps(tensors)))
        text = json.dumps(tensors).encode()
        assert len(text) == first
        (path := tmp_path / "net").write_bytes(struct.pack("<Q", first) + text + bytes(4))
        assert checkpoint.load(path).state["w"].item() == 0


# --- install ------------------------------------------------------------------------------------------------------


def given(**state):
    return checkpoint.Checkpoint(state, "", "net.pth", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bias": None}, r"1 missing from the file \(bias\); name the network"),
        ({"extra": torch.ones(1)}, r"1 unknown to the network \(extra\)"),
        (
            {"weight": torch.ones(3, 2)},
            r"1 shapes differ \(weight is \(3, 2\) in the file and \(2, 3\) in the network\)",
        ),
        ({"weight": torch.ones(2, 3, dtype=torch.int8)}, "weight is torch.int8 in the file and torch.float32"),
        ({"weight": torch.ones(7, 3), "bias": torch.ones(7)}, "has 7 classes and the network 2: pass classes=7$"),
        ({f"x{i}": torch.ones(1) for i in range(9)}, r"9 unknown to the network \(x0, x1, x2 and 6 more\)"),
    ],
)
def test_what_does_not_fit_is_named_and_the_module_unchanged(change, words):
    module = Net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = {name: value for name, value in (dict(STATE) | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=words):
        checkpoint.install(given(**state), module)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())


def test_a_prefix_of_the_module_itself_does_not_matter():
    wrapped = nn.ModuleDict({"model": Net()})
    checkpoint.install(given(**STATE), wrapped)
    assert torch.equal(wrapped["model"].weight, STATE["weight"])


def test_counters_of_batch_norm_may_be_missing():
    norm = nn.BatchNorm2d(2)
    state = {name: value + 1 for name, value in norm.state_dict().items() if name != "num_batches_tracked"}
    checkpoint.install(given(**state), norm)
    assert torch.equal(norm.running_mean, torch.ones(2))


# --- save ---------------------------------------------------------------------------------------------------------


def test_saved_weights_come_back(tmp_path):
    module = Net()
    path = checkpoint.save(module, tmp_path / "net.safetensors")
    loaded = checkpoint.load(path)
    assert loaded.format == "safetensors"
    assert all(torch.equal(loaded.state[name], value) for name, value in module.state_dict().items())
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_saved_views_and_shared_tensors_come_back(tmp_path):
    state = {
        "a": SHARED[:6].view(2, 3).T,
        "b": SHARED[:6],
        "c": torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    loaded = checkpoint.load(checkpoint.save(state, tmp_path / "net.safetensors"))
    assert all(torch.equal(loaded.state[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("state", "name", "words"),
    [(STATE, "net.pth", "name it net.safetensors"), ({"epoch": 3}, "net.safetensors", "take 'epoch' out")],
)
def test_save_refuses(state, name, words, tmp_path):
    with pytest.raises(CheckpointError, match=words):
        checkpoint.save(state, tmp_path / name)
    assert not list(tmp_path.iterdir())
