"""Networks by name; an unknown name is an error of one line with the nearest ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from phosphene import zoo
from phosphene.core.errors import NetworkError


def test_the_parts_are_imported_only_when_they_are_needed():
    program = "import sys, phosphene.zoo; print(*{'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules))"
    here = {**os.environ, "PYTHONPATH": str(Path(zoo.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=here)
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "efficientnet-lite",
            "no network is called 'efficientnet-lite'; did you mean 'efficientnet-lite1' or 'efficientnet-lite0'",
        ),
        ("resnet50", "did you mean 'torchvision:resnet50'"),
        ("zzz", r"there are efficientnet-lite0, .*, torchvision:NAME, timm:NAME, FILE.py:FUNCTION"),
        ("torchvison:resnet50", "no network is called 'torchvison:resnet50'"),
        ("torchvision:resnet5", "torchvision has no network 'resnet5'; did you mean 'resnet"),
        ("torchvision:", "torchvision has no network ''; there are"),
        ("timm:resnet50.a1_in1", "timm has no network 'resnet50.a1_in1'; did you mean 'resnet50.a1_in1k'"),
        ("timm:hf-hub:someone/model", "timm has no network 'hf-hub:someone/model'"),
    ],
)
def test_unknown_names(spec, words):
    with pytest.raises(NetworkError, match=words):
        zoo.load(spec)


def test_unknown_device():
    with pytest.raises(NetworkError, match=r"efficientnet-lite0 cannot be put on 'toaster': .*; use device 'cpu'"):
        zoo.load(device="toaster", weights="random")


def test_available():
    everything = zoo.available()
    assert everything[:2] == ("efficientnet-lite0", "efficientnet-lite1")
    assert {"torchvision:resnet50", "timm:resnet50.a1_in1k"} <= set(everything)
    assert zoo.available("torchvision:resnet1") == (
        "torchvision:resnet101",
        "torchvision:resnet152",
        "torchvision:resnet18",
    )
    assert zoo.available("tim") == tuple(name for name in everything if name.startswith("timm:"))


def test_random_weights_are_the_same_each_time_and_take_no_random_numbers():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, two = (zoo.load("torchvision:squeezenet1_1", weights="random") for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.module.parameters(), two.module.parameters(), strict=True))
    assert one.notes[-1] == "random weights: nothing was learned"
    assert one.sha256 == ""
