"""A network as everything else sees it: RGB pixels in, named activations and logits out, and no trace left behind."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.core.errors import ImageError, LayerError, NetworkError, TargetError, nearest
from phosphene.core.image import Picture
from phosphene.core.layers import Field, Layer, fields, first_tensor, trace

Images = Tensor
"""float (N, 3, H, W), RGB in [0, 1]."""

Activations = Mapping[str, Tensor]
"""Name → (N, C, H, W) or (N, C): "input", "logits", layers by their dotted name, "relu#1" for a second call."""


class Box(NamedTuple):
    """A rectangle of a photograph, in its own pixels; bottom and right are exclusive."""

    top: float
    left: float
    bottom: float
    right: float


class Prepared(NamedTuple):
    """A photograph at the size that a network wants: images (1, 3, H, W), and the box of the photograph they show."""

    images: Images
    box: Box


class Prediction(NamedTuple):
    """One class of one image: its logit, and its probability after the softmax."""

    index: int
    label: str
    probability: float
    logit: float


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """What stands between a photograph and the first layer.

    The short side is resized to size / crop, the center cut out, the channels ordered, mean and deviation applied.

    Args:
        size: height and width that the network wants, in pixels.
        mean: per channel, in [0, 1].
        std: per channel, in [0, 1].
        crop: share of the resized short side that the center crop keeps, in (0, 1].
        interpolation: of the resize.
        order: channels that the first layer wants.

    >>> Preprocess(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3).normalize(torch.ones(1, 3, 32, 32)).max().item()
    2.0
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: float = 0.875
    interpolation: Literal["bicubic", "bilinear", "nearest-exact"] = "bicubic"
    order: Literal["rgb", "bgr", "grey"] = "rgb"

    def normalize(self, images: Images) -> Tensor:
        """Images as the first layer wants them: (N, 3 or 1, H, W). Differentiable."""
        if self.order == "bgr":
            images = images.flip(1)
        elif self.order == "grey":
            images = (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        mean, std = (images.new_tensor(each).view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (images - mean) / std

    def prepare(self, picture: Picture) -> Prepared:
        """Resize and cut a photograph of any size; see `Network.prepare`."""
        (height, width), (rows, columns) = (picture.height, picture.width), self.size
        scale = max(rows / height, columns / width) / self.crop
        resized = max(rows, int(height * scale + 1e-6)), max(columns, int(width * scale + 1e-6))
        pixels = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)[None]
        smooth = self.interpolation != "nearest-exact"
        # On bytes, as Pillow does it: that is how the networks were measured.
        pixels = F.interpolate(pixels, resized, mode=self.interpolation, antialias=smooth)
        top, left = (resized[0] - rows) // 2, (resized[1] - columns) // 2
        images = pixels[:, :, top : top + rows, left : left + columns].float() / 255
        down, right = height / resized[0], width / resized[1]
        box = Box(top * down, left * right, (top + rows) * down, (left + columns) * right)
        return Prepared(images.contiguous(), box)


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A module, what it wants of its input, and what its classes are called.

    The module is never changed: training flags, requires_grad, .grad, hooks and weights are after every call, also
    one that failed, what they were before it.

    Args:
        module: takes a normalized batch and returns logits (N, K), alone or first in a tuple or dict.
        preprocess: size, mean, deviation and order of channels.
        labels: names of the classes; a class without a name is called by its index.
        name: what results and errors call the network.
        sha256: of the file of weights, "" where there was none.
        notes: what was chosen on loading it, for the manifest.
    """

    module: nn.Module = dataclasses.field(repr=False)
    preprocess: Preprocess = Preprocess()
    labels: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    name: str = "network"
    sha256: str = ""
    notes: tuple[str, ...] = ()
    _overwritten: set[str] = dataclasses.field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise NetworkError(f"a Network wants a torch.nn.Module, not {type(self.module).__name__}; wrap it in one")

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._like.device

    @cached_property
    def _like(self) -> Tensor:
        return next(self.module.parameters(), torch.zeros(()))

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """Every layer by name, in the order in which they finish: kind, shape, layout, parameters. Cost: one pass."""
        try:
            with at_rest(self.module):
                return trace(self.module, self._example)
        except RuntimeError as error:
            size = "×".join(map(str, self.preprocess.size))
            reason = str(error).partition("\n")[0]
            raise NetworkError(f"{self.name} cannot take images of {size}: {reason}. Set Preprocess(size=…)") from error

    @cached_property
    def fields(self) -> Mapping[str, Field | None]:
        """The receptive field of every layer; None where it is not known. Cost: about a second."""
        with at_rest(self.module):
            return fields(self.module, self._example)

    @cached_property
    def classes(self) -> int:
        """How many classes the logits tell apart (the channels of a map of logits). Cost: one pass."""
        with torch.no_grad():
            return self(torch.zeros(1, 3, *self.preprocess.size).to(self._like)).shape[1]

    @property
    def _example(self) -> Tensor:
        return self.preprocess.normalize(torch.zeros(1, 3, *self.preprocess.size).to(self._like))

    def prepare(self, picture: Picture) -> Prepared:
        """A photograph of any size at the input size, with the box it came from.

        Args:
            picture: as `phosphene.image` returns it.
        """
        images, box = self.preprocess.prepare(picture)
        return Prepared(images.to(self._like), box)

    def check(self, images: Images) -> Images:
        """The same images, on the device of the network, once they are known to be RGB in [0, 1].

        Raises:
            ImageError: another shape, other values.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            found = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            raise ImageError(f"images are {found}; phosphene wants float (N, 3, H, W). Use phosphene.image to load them")
        low, high = (images.min().item(), images.max().item()) if images.numel() else (0.0, 0.0)
        if not (-_SLACK <= low and high <= 1 + _SLACK):
            raise ImageError(
                f"images lie in [{low:.1f}, {high:.1f}]; phosphene wants RGB in [0, 1] and normalizes inside Network. "
                "Undo your Normalize, or divide by 255."
            )
        return images.to(self._like)

    def __call__(self, images: Images) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W)."""
        return self.tap(images, ("logits",))["logits"]

    def tap(self, images: Images, layers: Iterable[str], *, gradients: Iterable[str] = ()) -> dict[str, Tensor]:
        """Activations of some layers, from a pass that stops once the last of them is read.

        Cost: one truncated forward pass; one more the first time that a network overwrites, in place, what was read.

        Args:
            images: (N, 3, H, W), RGB in [0, 1].
            layers: "input", "logits", dotted names, "name#1" for the second call of a shared module.
            gradients: those of them whose gradient will be asked for; the graph starts at the first of them.

        Returns:
            name → (N, C, H, W) or (N, C), channels first also where the network keeps tokens or channels last.

        Raises:
            LayerError: no such layer, or one that the pass never reaches.
        """
        wanted, starts = frozenset(layers) | frozenset(gradients), frozenset(gradients)
        reading = _Reading(self, wanted, starts)
        found = reading.run(images)
        if reading.overwritten:
            self._overwritten.update(reading.overwritten)
            found = _Reading(self, wanted, starts).run(images)
        return found

    def layer(self, name: str) -> Layer:
        """One layer.

        Raises:
            LayerError: no such layer, with the nearest names.
        """
        if name not in self.layers:
            raise LayerError(self._missing(name))
        return self.layers[name]

    def _missing(self, name: str) -> str:
        base = name.partition("#")[0]
        if base in dict(self.module.named_modules()):
            calls = sum(each.partition("#")[0] == base for each in self.layers)
            why = f"is called {calls} times" if calls else "is never called on its own"
            return f"layer {name!r} of {self.name} is not there to read: {base!r} {why}; {nearest(name, self.layers)}"
        hint = f"(phosphene layers {self.name} lists all {len(self.layers)})"
        return f"{self.name} has no layer {name!r}; {nearest(name, self.layers)} {hint}"

    def index(self, label: str) -> int:
        """The class that a label names; case, underscores and further synonyms after a comma do not matter.

        Raises:
            TargetError: no class, or several, of that name.
        """
        wanted = _fold(label)
        found = [i for i, each in enumerate(self.labels) if wanted in {_fold(each), *map(_fold, each.split(","))}]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(
                f"{len(found)} classes of {self.name} are called {label!r}: "
                f"{', '.join(map(str, found))}; give the index instead"
            )
        known = nearest(label, self.labels) if self.labels else "it has no labels: give an index"
        raise TargetError(f"{self.name} has no class {label!r}; {known}")

    def label(self, index: int) -> str:
        """The name of a class."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def predict(self, images: Images, k: int = 5) -> tuple[tuple[Prediction, ...], ...]:
        """The k most probable classes of each image, best first. Cost: one forward pass."""
        with torch.no_grad():
            return self.read_off(self(images), k)

    def read_off(self, logits: Tensor, k: int = 5) -> tuple[tuple[Prediction, ...], ...]:
        """The k most probable classes that logits (N, K) tell of."""
        probabilities, indices = logits.detach().double().softmax(1).topk(min(k, logits.shape[1]))
        return tuple(
            tuple(
                Prediction(i, self.label(i), p, row[i].item())
                for p, i in zip(ps.tolist(), each.tolist(), strict=True)
            )
            for row, ps, each in zip(logits, probabilities, indices, strict=True)
        )


class _Stop(BaseException):
    """The last wanted layer was read: the rest of the pass is nobody's business."""


class _Reading:
    """One forward pass with an ear at some layers."""

    def __init__(self, network: Network, wanted: frozenset[str], starts: frozenset[str]) -> None:
        self.network, self.wanted, self.starts = network, wanted, starts
        self.inner = wanted - {"input", "logits"}
        for name in self.inner:
            network.layer(name)
        self.calls: Counter[str] = Counter()
        self.found: dict[str, Tensor] = {}
        self.versions: dict[str, int] = {}

    def run(self, images: Images) -> dict[str, Tensor]:
        if "input" in self.starts and not images.requires_grad:
            images = images.detach().requires_grad_()
        found, module = self.found, self.network.module
        if "input" in self.wanted:
            found["input"] = images
        if self.inner or "logits" in self.wanted:
            with at_rest(module), self._ears(module):
                try:
                    output = module(self.network.preprocess.normalize(images))
                except _Stop:
                    pass
                else:
                    found["logits"] = _logits(output, self.network.name)
        for name in self.wanted - found.keys():
            raise LayerError(f"the pass of {self.network.name} did not reach layer {name!r} on these images")
        return {name: found[name] for name in self.wanted}

    @property
    def overwritten(self) -> set[str]:
        """Layers that a later in-place operation has written over since they were read."""
        return {name for name, version in self.versions.items() if self.found[name]._version != version}

    @contextmanager
    def _ears(self, module: nn.Module) -> Iterator[None]:
        modules, handles = dict(module.named_modules()), []
        try:
            for base in {name.partition("#")[0] for name in self.inner}:
                handles.append(modules[base].register_forward_hook(self._ear(base)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _ear(self, base: str) -> Any:
        def read(_module: nn.Module, _args: Any, output: Any) -> Any:
            call, self.calls[base] = self.calls[base], self.calls[base] + 1
            name = f"{base}#{call}" if call else base
            if name not in self.inner:
                return None
            onward = self._keep(name, first_tensor(output))
            if "logits" not in self.wanted and self.inner <= self.found.keys():
                raise _Stop
            return None if onward is None else _put(output, onward)

        return read

    def _keep(self, name: str, output: Tensor | None) -> Tensor | None:
        """Keep the maps of an output; return what the network goes on with, or None for the output itself."""
        assert output is not None, f"layer {name} returned no tensor though the trace saw one"
        layer = self.network.layers[name]
        maps = layer.maps(output)
        start = name in self.starts and not maps.requires_grad
        if start:
            maps = maps.detach().requires_grad_()
        self.found[name] = maps
        if start or name in self.network._overwritten or maps.is_inference():
            return layer.unmaps(maps.clone(), output)
        self.versions[name] = maps._version
        # Gradients are asked of the maps, so the network must go on from them, not from the tensor they came from.
        return layer.unmaps(maps, output) if maps is not output and name in self.starts else None


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without weight gradients, and afterwards as before."""
    training = [each for each in module.modules() if each.training]
    learning = [each for each in module.parameters() if each.requires_grad]
    try:
        for each in training:
            each.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for each in training:
            each.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def _logits(output: Any, name: str) -> Tensor:
    logits = first_tensor(output)
    if logits is None:
        raise NetworkError(f"{name} returned {type(output).__name__}, which holds no tensor of logits; wrap the module")
    return logits


def _put(output: Any, tensor: Tensor) -> Any:
    """The output with its first tensor replaced."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, tuple):
        items = list(output)
        at = next(i for i, each in enumerate(items) if first_tensor(each) is not None)
        items[at] = _put(items[at], tensor)
        return type(output)(*items) if hasattr(output, "_fields") else tuple(items)
    if isinstance(output, list):
        return list(_put(tuple(output), tensor))
    assert isinstance(output, dict)
    key = next(key for key, each in output.items() if first_tensor(each) is not None)
    return type(output)({**output, key: _put(output[key], tensor)})


def _fold(label: str) -> str:
    return re.sub(r"[\s_]+", " ", label).strip().casefold()


_LUMA = (0.299, 0.587, 0.114)
_SLACK = 1e-3
