"""Files that hold no weights, or hostile ones: refused in one line, no code run, no memory allocated."""

import io
import json
import pickle
import shlex
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import CheckpointError

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}


def saved(path, value, **how):
    torch.save(value, path, **how)
    return path


def rewrapped(path, table, name="archive"):
    """The archive that torch.save writes, around a given pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data.pkl", table)
        archive.writestr(f"{name}/version", "3\n")
    return path


def header(**tensors):
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


class Evil:
    """A pickle that creates a file when it is opened."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


class Greedy:
    """A pickle that fills eight gigabytes, by a call that torch allows."""

    def __reduce__(self):
        return bytearray, (2**33,)


class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)


def bomb(path):
    """A real file of weights, deflated a thousand times."""
    plain = io.BytesIO()
    torch.save({"w": torch.zeros(2**26)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))


def twins(path):
    """Two tables whose names differ only in case: we check one, torch would run the other."""
    rewrapped(path, pickle.dumps({}, 2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/DATA.PKL", pickle.dumps(Greedy(), 2))


def cut(path, **how):
    path.write_bytes(saved(path, STATE, **how).read_bytes()[:-60])


def script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have nobody write these any more
        torch.jit.save(torch.jit.trace(Net(), torch.zeros(1, 3)), path)


def quantized(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved(path, {"w": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)})


def tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))


def crooked(path, **changes):
    """A tensor with a wrong size, stride or storage."""
    size = changes.get("size", (2, 3))
    value = torch.zeros(1).as_strided(size, changes.get("stride", (0, 0)))
    saved(path, {"w": value}, _use_new_zipfile_serialization=changes.get("zip", True))


HOSTILE = {
    "stride 0": (crooked, "claims shape"),
    "stride 0, 4 TB": (lambda path: crooked(path, size=(2**20, 2**20)), "claims shape"),
    "stride 0, legacy": (lambda path: crooked(path, size=(2**20, 2**20), zip=False), "claims shape"),
    "overlap": (lambda path: saved(path, {"w": torch.zeros(50).as_strided((3, 3), (1, 1))}), "claims shape"),
    "all one storage": (lambda path: saved(path, {f"w{i}": SHARED for i in range(5000)}), "add up to"),
    "sparse": (lambda path: saved(path, {"w": torch.eye(3).to_sparse()}), "plain weights never need"),
    "quantized": (quantized, "plain weights never need"),
    "meta": (lambda path: saved(path, {"w": torch.empty(2**40, device="meta")}), "plain weights never need"),
    "bytearray, zip": (lambda path: rewrapped(path, pickle.dumps({"w": Greedy()}, 2)), "calls 'builtins.bytearray'"),
    "bytearray, legacy": (
        lambda path: saved(path, {"w": Greedy()}, _use_new_zipfile_serialization=False),
        "calls 'builtins.bytearray'",
    ),
    "deflated": (bomb, "compressed archive"),
    "twins": (twins, "overlaps itself"),
    "script": (script, "TorchScript"),
    "tar": (tar, "tar archive"),
    "whole module": (lambda path: saved(path, Net()), "Net"),
    "no table": (lambda path: saved(path, [torch.ones(3)]), "no tensors by name but a list"),
    "one tensor": (lambda path: saved(path, torch.ones(3)), "no tensors by name but a Tensor"),
    "no tensors": (lambda path: saved(path, {"lr": 0.1}), "no tensors by name but a dict"),
    "itself": (lambda path: saved(path, CIRCLE), "no tensors by name"),
    "other zip": (lambda path: zipfile.ZipFile(path, "w").writestr("readme.txt", "hello"), "without weights in it"),
    "cut zip": (lambda path: path.write_bytes(saved(path, STATE).read_bytes()[:-60]), "damaged torch zip"),
    "cut legacy": (
        lambda path: path.write_bytes(saved(path, STATE, _use_new_zipfile_serialization=False).read_bytes()[:-20]),
        "damaged torch legacy",
    ),
    "protocol 4": (lambda path: saved(path, STATE, pickle_protocol=4), "pickled with protocol 4"),
    "cut safetensors": (
        lambda path: path.write_bytes(safetensors.torch.save(dict(STATE))[:-4]),
        "damaged safetensors",
    ),
    "cut header": (lambda path: path.write_bytes(safetensors.torch.save(dict(STATE))[:40]), "cut short"),
    "huge header": (lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{" + bytes(99)), "knows"),
    "long header": (lambda path: path.write_bytes(struct.pack("<Q", 2**29) + b"{" + bytes(99)), "cut short"),
    "empty shape": (
        lambda path: path.write_bytes(header(w={"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 0]})),
        "claims shape (1099511627776, 0)",
    ),
    "wrong shape": (
        lambda path: path.write_bytes(header(w={"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}) + bytes(8)),
        "damaged safetensors",
    ),
    "web page": (lambda path: path.write_text("\n<!DOCTYPE html><title>Sign in</title>"), "web page"),
    "text": (lambda path: path.write_text("404: not found"), "holds no weights"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "git lfs pull",
    ),
    "keras": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "empty": (lambda path: path.touch(), "empty"),
    "folder": (lambda path: path.mkdir(), "a folder"),
    "nothing": (lambda path: None, "there is no file"),
}
SHARED = torch.zeros(2**18)
CIRCLE = {}
CIRCLE["model"] = CIRCLE


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_refused_in_one_line(kind, ending, tmp_path):
    make, words = HOSTILE[kind]
    make(path := tmp_path / f"net{ending}")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    text = str(caught.value)
    assert words in text
    assert str(path) in text
    assert text.isprintable()
    assert len(text) < 500 + 2 * len(str(path))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", ["bare", "zip", "legacy", "nested", "prefixed"])
def test_nothing_is_run(wrap, protocol, tmp_path):
    path, canary = tmp_path / "net.pth", tmp_path / "canary"
    evil, how = Evil(canary), {"pickle_protocol": protocol}
    if wrap == "bare":
        path.write_bytes(pickle.dumps(evil, protocol))
    elif wrap == "zip":
        rewrapped(path, pickle.dumps(evil, protocol))
    elif wrap == "prefixed":
        path.write_bytes(safetensors.torch.save(dict(STATE))[:8] + pickle.dumps(evil, protocol))
    elif wrap == "nested":
        saved(path, {"state_dict": STATE | {"more": evil}}, **how)
    else:
        saved(path, evil, _use_new_zipfile_serialization=False, **how)
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    assert not canary.exists()


def test_nothing_is_run_by_a_pickle_with_a_wrong_protocol(tmp_path):
    honest = pickle.dumps(Evil(canary := tmp_path / "canary"), 4)
    lie = b"\x80\x02" + honest[2 + 9 :]  # protocol 2, without the frame that protocol 4 opens with
    path = rewrapped(tmp_path / "net.pth", lie)
    with pytest.raises(CheckpointError, match="damaged torch zip file: Unsupported operand"):
        checkpoint.load(path)
    assert not canary.exists()
    pickle.loads(lie).close()
    assert canary.exists()


def test_hostile_files_take_no_memory(tmp_path):
    for kind, (make, _) in HOSTILE.items():
        make(tmp_path / kind.replace("/", " "))
    program = """
import resource, sys
from pathlib import Path
from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import CheckpointError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in Path(sys.argv[1]).iterdir():
    try:
        checkpoint.load(path)
    except CheckpointError:
        continue
    raise SystemExit(f"{path} was loaded")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    here = {"PYTHONPATH": str(Path(checkpoint.__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=here, check=False)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10)
    assert grown < 200, f"{grown:.0f} MB"


def test_limit(tmp_path):
    path = saved(tmp_path / "net.pth", STATE)
    with pytest.raises(CheckpointError, match=r"has [\d,]+ bytes, the limit is 100; raise limit_bytes"):
        checkpoint.load(path, limit_bytes=100)


@pytest.mark.parametrize("kind", ["whole module", "script", "bare"])
def test_the_command_in_the_message_works(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, net = tmp_path / "a net's.pth", nn.Linear(3, 2)
    if kind == "script":
        script(path)
    elif kind == "bare":
        path.write_bytes(pickle.dumps({"model": net}, 2))
    else:
        torch.save({"epoch": 1, "state_dict": net}, path)
    with pytest.raises(CheckpointError, match="in a sandbox without network: ") as caught:
        checkpoint.load(path)
    command = shlex.split(str(caught.value).partition("network: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    assert checkpoint.load("weights.pth").state["weight"].shape == (2, 3)
