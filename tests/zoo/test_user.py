"""Networks of the user: the file is run, and whatever goes wrong in it is an error of one line."""

import sys

import pytest
import torch

from phosphene import zoo
from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import CheckpointError, NetworkError

CODE = """
import dataclasses
import torch
from torch import nn
from phosphene.core.networks.network import Network, Preprocess
from neighbor import WIDTH

@dataclasses.dataclass
class Config:
    width: int = WIDTH

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, Config().width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 2))

def make():
    return Net()

def ready():
    return Network(Net(), Preprocess(size=(32, 32)), labels=("cat", "dog"), notes=("mine",))

def breaks():
    return {}["missing"]

def leaves():
    raise SystemExit(3)

def number():
    return 7
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "neighbor.py").write_text("WIDTH = 4\n")
    (path := tmp_path / "net.py").write_text(CODE)
    yield path
    sys.modules.pop("neighbor", None)


def test_a_function_that_returns_a_module(file):
    before = list(sys.path)
    network = zoo.load(f"{file}:make")
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 2)
    assert network.name == f"{file}:make"
    assert network.preprocess.size == (224, 224)
    assert network.notes == ("preprocessing of ImageNet at 224 assumed",)
    assert sys.path == before


def test_a_class_is_a_function_too(file):
    assert type(zoo.load(f"{file}:Net").module).__name__ == "Net"


def test_a_function_that_returns_a_network(file):
    network = zoo.load(f"{file}:ready")
    assert (network.labels, network.preprocess.size, network.notes) == (("cat", "dog"), (32, 32), ("mine",))


def test_weights_are_loaded_into_it(file, tmp_path):
    state = {name: torch.ones_like(value) for name, value in zoo.load(f"{file}:make").module.state_dict().items()}
    path = checkpoint.save(state, tmp_path / "ones.safetensors")
    network = zoo.load(f"{file}:ready", weights=path)
    assert all(bool((value == 1).all()) for value in network.module.state_dict().values())
    assert network.sha256 == checkpoint.load(path).sha256
    (path := tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        zoo.load(f"{file}:ready", weights=path)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (":mak", r"has no function 'mak'; did you mean 'make'\?"),
        (":WIDTH", "has no function 'WIDTH'; there are"),
        ("", "names no function; write .*net.py:FUNCTION"),
        (":breaks", r"net.py:breaks raised KeyError: 'missing' \(net.py, line 23\); mend it there"),
        (":leaves", "raised SystemExit: 3"),
        (":number", "returned int; it is to return a torch.nn.Module or a Network"),
    ],
)
def test_what_goes_wrong_is_one_line(ending, words, file):
    with pytest.raises(NetworkError, match=words) as caught:
        zoo.load(f"{file}{ending}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nowhere_to_be_found\n", r"raised ModuleNotFoundError: .* \(broken.py, line 1\)"),
        ("x = 1\ndef f(:\n", r"raised SyntaxError: .*line 2"),
    ],
)
def test_a_file_that_does_not_run(code, words, tmp_path):
    (path := tmp_path / "broken.py").write_text(code)
    with pytest.raises(NetworkError, match=words):
        zoo.load(f"{path}:make")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NetworkError, match=r"there is no file .*gone.py; check the path"):
        zoo.load(f"{tmp_path}/gone.py:make")


def test_code_may_be_forbidden(file, tmp_path):
    file.write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    with pytest.raises(NetworkError, match="is code, which may not be run here"):
        zoo.load(f"{file}:make", allow_code=False)
    assert not (tmp_path / "canary").exists()


def test_the_function_decides_the_classes(file):
    with pytest.raises(NetworkError, match="decides itself how many classes"):
        zoo.load(f"{file}:make", classes=3)
