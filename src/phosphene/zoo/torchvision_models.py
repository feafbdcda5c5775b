"""The classifiers of torchvision; weights are downloaded once and read by the checkpoint loader."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from phosphene.core.checkpoints import checkpoint
from phosphene.core.checkpoints.checkpoint import Checkpoint
from phosphene.core.errors import NetworkError, did_you_mean
from phosphene.core.networks.network import Network, Preprocess
from phosphene.zoo.assemble import assemble, check_classes, read_weights


def names() -> tuple[str, ...]:
    """Every classifier."""
    return tuple(models.list_models(module=models))


def has(name: str) -> bool:
    """Whether there is one of that name, with or without the tag of its weights."""
    return name.partition(".")[0] in names()


def build(name: str, *, weights: str | Path | None, classes: int | None) -> Network:
    """A classifier of torchvision.

    Args:
        name: as torchvision has it; "resnet50.IMAGENET1K_V1" chooses among several weights of its own.
        weights: a file, "random", or None for its own.
        classes: see `zoo.load`.

    Raises:
        NetworkError: no such weights, or they are not here and cannot be fetched.
    """
    architecture, _, tag = name.partition(".")
    own = _weights(architecture, tag)
    labels = tuple(own.meta["categories"])
    if weights is None:
        check_classes(f"torchvision:{name}", classes, len(labels))
    loaded = _renamed(_downloaded(name, own) if weights is None else read_weights(weights))
    with_aux = {"aux_logits": any(key.startswith(("aux", "Aux")) for key in loaded.state)}
    extra = {**_INCEPTION, **with_aux} if architecture in ("googlenet", "inception_v3") else {}
    module: nn.Module = models.get_model(architecture, weights=None, num_classes=classes or len(labels), **extra)
    network = assemble(module, loaded, _preprocess(own), labels if classes in (None, len(labels)) else ())
    return replace(network, notes=(f"preprocessing of {own}", *network.notes))


def _weights(architecture: str, tag: str) -> Any:
    choices = models.get_model_weights(architecture)
    if not tag:
        return choices.DEFAULT
    if tag not in choices.__members__:
        raise NetworkError(
            f"torchvision:{architecture} has no weights {tag!r}; {did_you_mean(tag, choices.__members__)}"
        )
    return choices[tag]


def _downloaded(name: str, own: Any) -> Checkpoint:
    """The network's own weights, from torch's cache, downloaded into it first if need be."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / own.url.rpartition("/")[2]
    if not path.is_file():
        digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            progress = sys.stderr.isatty()
            torch.hub.download_url_to_file(own.url, str(path), digits and digits[1], progress=progress)
        except (OSError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise NetworkError(
                f"the weights of torchvision:{name} are not on this computer and cannot be fetched ({reason}); "
                "run once with the internet, pass weights with a file or 'random', or use efficientnet-lite0"
            ) from error
    return checkpoint.load(path)


def _renamed(loaded: Checkpoint) -> Checkpoint:
    """Files of DenseNet have names such as norm.1, from before module names could not contain a dot."""
    return replace(loaded, state={_DOTTED.sub(r"\1\2", name): value for name, value in loaded.state.items()})


def _preprocess(own: Any) -> Preprocess:
    wanted = own.transforms()
    (side,), (resized,) = wanted.crop_size, wanted.resize_size
    mean, std = tuple(wanted.mean), tuple(wanted.std)
    return Preprocess((side, side), mean, std, crop=side / resized, interpolation=wanted.interpolation.value)


# Trained on inputs in [-1, 1]; with this option they rescale inputs normalized as for ImageNet.
_INCEPTION = {"transform_input": True, "init_weights": False}

_DOTTED = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])(?=\.)")
