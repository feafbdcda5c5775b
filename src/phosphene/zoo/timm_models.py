"""The classifiers of timm, which downloads their weights itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import timm
from huggingface_hub import try_to_load_from_cache

from phosphene.core import files
from phosphene.core.checkpoints.checkpoint import Checkpoint
from phosphene.core.errors import NetworkError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.zoo import imagenet
from phosphene.zoo.assemble import assemble, check_classes, read_weights


def names() -> tuple[str, ...]:
    """Every network with weights, as NAME.TAG."""
    return tuple(timm.list_pretrained())


def has(name: str) -> bool:
    """Whether timm can build it: an architecture, with a tag of its weights or without."""
    return bool(timm.is_model(name)) if "." not in name else name in names()


def build(name: str, *, weights: str | Path | None, classes: int | None) -> Network:
    """A classifier of timm.

    Args:
        name: as timm has it, such as "resnet50.a1_in1k"; without a tag, timm's choice.
        weights: a file, "random", or None for its own.
        classes: see `zoo.load`.

    Raises:
        NetworkError: its weights are not here and cannot be fetched.
    """
    if weights is None:
        module = _pretrained(name)
        check_classes(f"timm:{name}", classes, module.pretrained_cfg["num_classes"])
        loaded = _provenance(module)
    else:
        module, loaded = timm.create_model(name, pretrained=False, num_classes=classes), read_weights(weights)
    network = assemble(module, loaded, preprocess(module), imagenet.labels(module.num_classes))
    return replace(network, notes=(*network.notes, *_remarks(module)))


def preprocess(module: Any) -> Preprocess:
    """The preprocessing of a network of timm."""
    config = module.pretrained_cfg
    interpolation: Literal["bicubic", "bilinear"] = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    return Preprocess(tuple(config["input_size"][1:]), config["mean"], config["std"], config["crop_pct"], interpolation)


def _pretrained(name: str) -> Any:
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # timm and its downloader raise many kinds
        reason = str(error).partition("\n")[0]
        raise NetworkError(
            f"the weights of timm:{name} are not on this computer and cannot be fetched ({reason}); "
            "run once with the internet, pass weights with a file or 'random', or use efficientnet-lite0"
        ) from error


def _provenance(module: Any) -> Checkpoint:
    """Where the weights that timm loaded into a module come from, without the weights."""
    config = module.pretrained_cfg
    where, tag = config.get("hf_hub_id"), f"{config['architecture']}.{config['tag']}"
    file = try_to_load_from_cache(where, "model.safetensors") if where else None
    sha256 = files.sha256(Path(file)) if isinstance(file, str) else ""
    return Checkpoint({}, sha256, file if isinstance(file, str) else "", "timm", (f"weights {tag}, read by timm",))


def _remarks(module: Any) -> tuple[str, ...]:
    mode = module.pretrained_cfg["crop_mode"]
    return () if mode == "center" else (f"timm's crop mode is {mode!r}; here the center is cut out",)
