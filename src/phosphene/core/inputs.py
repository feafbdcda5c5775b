"""The border for what users give: pictures, targets, layers and networks in every natural spelling."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from phosphene.core.errors import ImageError, LayerError, NetworkError, TargetError
from phosphene.core.images import samples
from phosphene.core.images.image import Picture, load
from phosphene.core.images.preprocess import Box, Prepared
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.grammar import parse
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.per_image import PerImage

OnePicture = str | Path | Picture | Image.Image | npt.NDArray[Any] | Tensor
Pictures = OnePicture | Sequence[OnePicture]
"""A path, "sample:cat", a Picture, a Pillow image, an array (H, W, 3) or (H, W), a tensor (3, H, W); or several.

Tensors may be (N, 3, H, W). Arrays and floating point tensors hold [0, 1], uint8 ones 0 … 255.
"""

Target = str | int | Objective
"""A text of the target grammar, "top", the index of a class, or an objective."""


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """What a network is given, and where it came from.

    Args:
        images: (N, 3, H, W), RGB in [0, 1], on the device of the network.
        sources: (N,) the pictures, or the images (1, 3, H, W) where tensors were given.
        boxes: (N,) the part of each picture that its image shows.
    """

    images: Images
    sources: tuple[Picture | Tensor, ...] = dataclasses.field(repr=False)
    boxes: tuple[Box, ...] = dataclasses.field(repr=False)

    @property
    def photographs(self) -> tuple[Picture, ...]:
        """(N,) the pictures, where all were given as such; () where tensors were."""
        pictures = tuple(source for source in self.sources if isinstance(source, Picture))
        return pictures if len(pictures) == len(self.sources) else ()

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """(N,) the pictures; of a tensor, its image as 8 bits."""
        return tuple(
            source if isinstance(source, Picture) else Picture.from_array(source[0]) for source in self.sources
        )


def prepare_inputs(network: Network, pictures: Pictures, *, size: tuple[int, int] | None = None) -> Inputs:
    """Pictures as images of the size that a network wants; tensors are taken as they are.

    Args:
        network: that they are for.
        pictures: one or several, see `Pictures`.
        size: height and width, instead of the network's.

    Raises:
        NetworkError: a bare module instead of a Network.
        ImageError: no picture, another shape, other values, or tensors of several sizes.

    >>> prepare_inputs(tiny, [images[0], np.zeros((40, 60, 3), np.uint8)]).images.shape
    torch.Size([2, 3, 32, 32])
    """
    network = check_network(network)
    preprocess = dataclasses.replace(network.preprocess, size=size) if size else network.preprocess
    return _inputs(network, pictures, preprocess.prepare)


def full_size_inputs(network: Network, pictures: Pictures) -> Inputs:
    """Pictures as images of their own size, as for a dream; otherwise as `prepare_inputs`."""
    return _inputs(check_network(network), pictures, lambda picture: Prepared(picture.tensor(), _whole(picture)))


def one_input(inputs: Inputs, verb: str) -> Inputs:
    """The same inputs, of a verb that takes one picture.

    Raises:
        ImageError: several pictures.
    """
    if len(inputs.images) != 1:
        raise ImageError(f"{len(inputs.images)} pictures were given; {verb} takes one. Call it for each")
    return inputs


def as_picture(picture: OnePicture) -> Picture:
    """One picture, decoded; see `Pictures`.

    Raises:
        ImageError: it cannot be read, or is no picture.
    """
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, str) and picture.startswith(_SAMPLE):
        return load(samples.sample(picture.removeprefix(_SAMPLE)))
    if isinstance(picture, str | Path):
        return load(picture)
    if isinstance(picture, Image.Image | np.ndarray | Tensor):
        return Picture.from_array(picture)
    raise ImageError(
        f"{_type(picture)} is no picture; give a path, a Picture, a Pillow image, an array (H, W, 3) or a tensor"
    )


def bind_target(network: Network, target: Target | Sequence[Target], images: Images | None = None) -> Objective:
    """The objective that a user means, bound to a network.

    Args:
        network: whose classes and layers are meant.
        target: an objective, an index, a text for `parse`, or "top" for the most probable class of the images; or as
            many of these as images, which gives each image its own.
        images: (N, 3, H, W); needed for "top" and for several targets. Cost of "top": one forward pass.

    Raises:
        TargetError: no such target, "top" for images of several best classes, or another number of targets than images.

    >>> print(bind_target(tiny, "tabby - 0.5*goldfish"), "|", bind_target(tiny, [3, "tabby"], images))
    tabby - 0.5*goldfish | crane, tabby
    """
    network = check_network(network)
    if isinstance(target, Tensor | np.ndarray):
        target = target.tolist()
    if isinstance(target, str) and target == "top":
        return _top(network, images)
    if isinstance(target, str):
        return parse(target, network)
    if isinstance(target, Objective):
        return target.bind(network)
    if isinstance(target, Integral) and not isinstance(target, bool):
        return Logit(int(target)).bind(network)
    if not isinstance(target, Sequence):
        raise TargetError(
            f"{_type(target)} is no target; give a label, an index, a text such as 'tabby - tiger cat', or an objective"
        )
    count = 1 if images is None else len(images)
    if len(target) != count:
        raise TargetError(f"{len(target)} targets for {count} images; give one for each, or one for all")
    own = tuple(
        bind_target(network, one, None if images is None else images[i : i + 1]) for i, one in enumerate(target)
    )
    return own[0] if len(set(own)) == 1 else PerImage(own)


def list_targets(targets: Target | Iterable[Target]) -> list[Target]:
    """One or several targets as a list: a text is one target, not its letters."""
    return [targets] if isinstance(targets, str | int | Integral | Objective) else list(targets)


def bind_targets(network: Network, targets: Target | Iterable[Target]) -> tuple[Objective, ...]:
    """One or several targets, each an objective of its own; equal objects stay one.

    Raises:
        TargetError: no such target.

    >>> bind_targets(tiny, "goldfish"), bind_targets(tiny, [0, "features.2:1"])
    ((Logit(index=2),), (Logit(index=0), Channel(layer='features.2', channel=1)))
    """
    several = list_targets(targets)
    bound = {id(target): bind_target(network, target) for target in several}
    return tuple(bound[id(target)] for target in several)


def _top(network: Network, images: Images | None) -> Objective:
    if images is None:
        raise TargetError("'top' is the most probable class of a picture, and there is none here; name a class")
    best = {ranked[0].index: ranked[0].label for ranked in network.predict(images, 1)}
    if len(best) > 1:
        names = ", ".join(best.values())
        raise TargetError(f"the images have {len(best)} best classes ({names}); name one, or take them one by one")
    return Logit(next(iter(best))).bind(network)


def layer_name(network: Network, layer: str | nn.Module) -> str:
    """The name of a layer, which may be given as the module itself.

    Args:
        network: whose layer.
        layer: its name, or a module of the network: then its first call is meant.

    Raises:
        LayerError: no layer of that name, or a module of another network.

    >>> layer_name(tiny, tiny.module.features[2])
    'features.2'
    """
    if isinstance(layer, str):
        network.shape(layer)
        return layer
    if not isinstance(layer, nn.Module):
        raise LayerError(f"{layer!r} is no layer of {network.name}; give a name, or a module of it")
    for name, module in network.module.named_modules():
        if module is layer and name:
            return network.layer(name).name
    raise LayerError(f"this {_type(layer)} is no module of {network.name}; give one of its modules, or a name")


def check_network(network: Network) -> Network:
    """The network itself.

    Raises:
        NetworkError: a bare module, or something else.
    """
    if isinstance(network, Network):
        return network
    kind = _type(network)
    if isinstance(network, nn.Module):
        raise NetworkError(
            f"a bare {kind} tells nothing of its preprocessing; wrap it: "
            "Network(module, Preprocess(size=(224, 224), mean=…, std=…), labels=…)"
        )
    raise NetworkError(f"a {kind} is no network; give a Network, such as phosphene.load('torchvision:resnet50')")


def _inputs(network: Network, pictures: Pictures, prepare: Any) -> Inputs:
    images: list[Tensor] = []
    sources: list[Picture | Tensor] = []
    boxes: list[Box] = []
    for item in _items(pictures):
        if isinstance(item, Tensor):
            checked = network.check(_batch(item))
            images.append(checked)
            sources += [image[None] for image in checked]
            boxes += [Box(0, 0, *checked.shape[2:])] * len(checked)
        else:
            picture = as_picture(item)
            image, box = prepare(picture)
            images.append(network.check(image))
            sources.append(picture)
            boxes.append(box)
    if not sources:
        raise ImageError("no picture was given; give at least one")
    sizes = {tuple(image.shape[2:]) for image in images}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} × {width}" for height, width in sorted(sizes))
        raise ImageError(
            f"the pictures have several sizes ({listed}), which one batch cannot hold; give them one by one"
        )
    return Inputs(images[0] if len(images) == 1 else torch.cat(images), tuple(sources), tuple(boxes))


def _items(pictures: Pictures) -> Iterable[OnePicture]:
    if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
        return list(pictures)
    if isinstance(pictures, Iterable) and not isinstance(pictures, str | Tensor | np.ndarray | Picture | Image.Image):
        return pictures
    return [pictures]


def _batch(images: Tensor) -> Tensor:
    """A tensor as (N, 3, H, W) in [0, 1]."""
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    return images[None] if images.ndim == 3 else images


def _whole(picture: Picture) -> Box:
    return Box(0, 0, picture.height, picture.width)


def _type(value: object) -> str:
    return type(value).__name__


_SAMPLE = "sample:"
