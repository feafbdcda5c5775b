"""The one interface to a network: RGB pixels in, named activations and logits out; the module is left as it was."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from phosphene.core.errors import ImageError, LayerError, NetworkError, TargetError, did_you_mean
from phosphene.core.images.image import Picture
from phosphene.core.images.preprocess import Box as Box
from phosphene.core.images.preprocess import Images as Images
from phosphene.core.images.preprocess import Prepared as Prepared
from phosphene.core.images.preprocess import Preprocess as Preprocess
from phosphene.core.networks.layers import Layer, ReceptiveField, receptive_fields, trace
from phosphene.core.networks.reading import Reading, StreamedReading

Activations = Mapping[str, Tensor]
"""Name → (N, C, H, W) or (N, C): "input", "logits", layers by their dotted name, "relu#1" for a second call."""


class Prediction(NamedTuple):
    """One class of one image: its logit, and its probability after the softmax."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which predictions do not need
    label: str
    probability: float
    logit: float


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A module, the preprocessing of its input, and the names of its classes.

    The module is never changed: training flags, requires_grad, .grad, hooks and weights are the same before and after
    every call, also one that failed.

    Args:
        module: takes a normalized batch and returns logits (N, K), alone or first in a tuple or dict.
        preprocess: size, mean, deviation and order of channels.
        labels: names of the classes; a class without a name is called by its index.
        name: of the network in results and errors.
        sha256: of the file of weights; "" where there was none.
        notes: choices made on loading it, for the manifest.
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
        """The device of the weights."""
        return self._like.device

    @cached_property
    def _like(self) -> Tensor:
        return next(self.module.parameters(), torch.zeros(()))

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """Every layer by name, in the order in which they finish: kind, shape, layout, parameters. Cost: one pass."""
        try:
            return trace(self.module, self._example)
        except _SIZE_ERRORS as error:
            raise NetworkError(self._refusal(error)) from error

    @cached_property
    def receptive_fields(self) -> Mapping[str, ReceptiveField | None]:
        """The receptive field of every layer; None where it is not known. Cost: about a second."""
        try:
            return receptive_fields(self.module, self._example)
        except _SIZE_ERRORS as error:
            raise NetworkError(self._refusal(error)) from error

    @cached_property
    def classes(self) -> int:
        """Number of classes: of logits, or of channels of a map of logits. Cost: one pass."""
        return self._logits[0]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a layer, or of the logits, without the batch: (C, H, W) or (C,)."""
        return self._logits if name == "logits" else self.layer(name).shape

    @cached_property
    def _logits(self) -> tuple[int, ...]:
        try:
            with torch.no_grad():
                return tuple(self(torch.zeros(1, 3, *self.preprocess.size).to(self._like)).shape[1:])
        except _SIZE_ERRORS as error:
            raise NetworkError(self._refusal(error)) from error

    def _refusal(self, error: Exception) -> str:
        size = "×".join(map(str, self.preprocess.size))
        grey = ', order="grey"' if "to have 1 channels" in str(error) else ""
        return f"{self.name} cannot take images of {size}: {_line(error)}; give Network a Preprocess(size=…{grey})"

    @property
    def _example(self) -> Tensor:
        return self.preprocess.normalize(torch.zeros(1, 3, *self.preprocess.size).to(self._like))

    def prepare(self, picture: Picture) -> Prepared:
        """A photograph of any size as network input, with the box of it that is shown.

        Args:
            picture: as `phosphene.image` returns it.
        """
        images, box = self.preprocess.prepare(picture)
        return Prepared(images.to(self._like), box)

    def check(self, images: Images) -> Images:
        """The same images on the device of the network, checked to be RGB in [0, 1].

        Raises:
            ImageError: another shape, other values.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            given = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
            raise ImageError(
                f"images are {given}; phosphene wants float (N, 3, H, W). Use phosphene.image to load them"
            )
        low, high = (images.min().item(), images.max().item()) if images.numel() else (0.0, 0.0)
        if not (-_SLACK <= low and high <= 1 + _SLACK):
            raise ImageError(
                f"images lie in [{low:.4g}, {high:.4g}]; phosphene wants RGB in [0, 1] and normalizes inside Network. "
                "Undo your Normalize, or divide by 255."
            )
        return images.to(self._like)

    def __call__(self, images: Images) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W)."""
        return self.tap(images, ("logits",))["logits"]

    def tap(self, images: Images, layers: Iterable[str], *, gradients: Iterable[str] = ()) -> dict[str, Tensor]:
        """Activations of some layers, from a pass that stops after the last of them.

        Cost: one truncated forward pass; a second the first time that a network overwrites a recorded one in place.

        Args:
            images: (N, 3, H, W), RGB in [0, 1].
            layers: "input", "logits", dotted names, "name#1" for the second call of a shared module.
            gradients: those of them whose gradient will be taken; the graph starts at the first of them.

        Returns:
            name → (N, C, H, W) or (N, C), channels first also where the network keeps tokens or channels last.

        Raises:
            LayerError: no such layer, or one that the pass never reaches.
        """
        starts = frozenset(gradients)
        wanted = starts | frozenset(layers)
        if "input" in starts and not images.requires_grad:
            images = images.detach().requires_grad_()
        activations = {"input": images, **(self._read(images, wanted, starts) if wanted != {"input"} else {})}
        for name in wanted - activations.keys():
            raise LayerError(f"the pass of {self.name} did not reach layer {name!r} on these images")
        return {name: activations[name] for name in wanted}

    def stream(self, images: Images, layers: Iterable[str], receive: Callable[[str, Tensor], None]) -> None:
        """Pass activations of some layers to a callback as they are computed, keeping none. Cost: one truncated pass.

        Args:
            images: (N, 3, H, W), RGB in [0, 1].
            layers: as for `tap`.
            receive: called with a name and its (N, C, H, W) or (N, C), in the order of the pass; must not change them.

        Raises:
            LayerError: no such layer, or one that the pass never reaches.
        """
        wanted = frozenset(layers)
        table = {name: self.layer(name) for name in wanted - {"input", "logits"}}
        reading = StreamedReading(self.module, table, wanted, receive)
        with torch.no_grad():
            if "input" in wanted:
                receive("input", images)
            batch = self.preprocess.normalize(images).to(self._like.dtype)
            activations = reading.run(batch) if wanted - {"input"} else {}
        if "logits" in wanted:
            receive("logits", activations["logits"])
        for name in table.keys() - reading.reached:
            raise LayerError(f"the pass of {self.name} did not reach layer {name!r} on these images")

    def replicate(self) -> Network:
        """The same network for another thread: a copy of the modules that shares the weights.

        Raises:
            NetworkError: the module cannot be copied.
        """
        shared = {id(tensor): tensor for tensor in (*self.module.parameters(), *self.module.buffers())}
        try:
            module = copy.deepcopy(self.module, shared)
        except Exception as error:  # modules define their own copying
            raise NetworkError(f"{self.name} cannot be copied for another thread: {_line(error)}. Use one") from error
        replica = dataclasses.replace(self, module=module)
        replica.__dict__["layers"] = self.layers
        replica._overwritten.update(self._overwritten)
        return replica

    def _read(self, images: Images, wanted: frozenset[str], starts: frozenset[str]) -> dict[str, Tensor]:
        table = {name: self.layer(name) for name in wanted - {"input", "logits"}}
        batch = self.preprocess.normalize(images).to(self._like.dtype)
        reading = Reading(self.module, table, wanted, starts=starts, copied=frozenset(self._overwritten))
        try:
            activations = reading.run(batch)
        except _SIZE_ERRORS as error:
            given, size = ("×".join(map(str, pair)) for pair in (images.shape[2:], self.preprocess.size))
            if given == size:
                raise
            raise ImageError(
                f"{self.name} cannot take images of {given}: {_line(error)}; it wants {size}, as phosphene.image and "
                "Network.prepare make them"
            ) from error
        if not reading.overwritten:
            return activations
        self._overwritten.update(reading.overwritten)  # known only after the pass, by version counters of tensors
        return self._read(images, wanted, starts)

    def layer(self, name: str) -> Layer:
        """One layer.

        Raises:
            LayerError: no such layer, with the nearest names.
        """
        if name not in self.layers:
            raise LayerError(self._missing(name))
        return self.layers[name]

    def _missing(self, name: str) -> str:
        base, near = name.partition("#")[0], did_you_mean(name, self.layers)
        if base in dict(self.module.named_modules()):
            calls = sum(layer.partition("#")[0] == base for layer in self.layers)
            why = f"is called {calls} time{'s' if calls > 1 else ''}" if calls else "is never called on its own"
            return f"layer {name!r} of {self.name} is not there to read: {base!r} {why}; {near}"
        return f"{self.name} has no layer {name!r}; {near} (phosphene layers {self.name} lists all {len(self.layers)})"

    def index(self, label: str) -> int:
        """The class of a label; case, underscores and further synonyms after a comma do not matter.

        Raises:
            TargetError: no class, or several, of that name.
        """
        wanted = fold_label(label)
        matching = [i for i, names in enumerate(self._label_names) if wanted in names]
        if len(matching) == 1:
            return matching[0]
        if matching:
            several = f"{len(matching)} classes of {self.name} are called {label!r}: {', '.join(map(str, matching))}"
            raise TargetError(f"{several}; give the index instead")
        known = did_you_mean(label, self.labels) if self.labels else "it has no labels: give an index"
        raise TargetError(f"{self.name} has no class {label!r}; {known}")

    @cached_property
    def _label_names(self) -> tuple[frozenset[str], ...]:
        return tuple(frozenset(map(fold_label, (name, *name.split(",")))) for name in self.labels)

    def label(self, index: int) -> str:
        """The name of a class."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def predict(self, images: Images, k: int = 5) -> tuple[tuple[Prediction, ...], ...]:
        """The k most probable classes of each image, best first. Cost: one forward pass."""
        with torch.no_grad():
            return self.top_classes(self(images), k)

    def top_classes(self, logits: Tensor, k: int = 5) -> tuple[tuple[Prediction, ...], ...]:
        """The k most probable classes by logits (N, K), best first."""
        logits = logits.detach().cpu()  # not every device has float64
        probabilities, indices = logits.double().softmax(1).topk(min(k, logits.shape[1]))
        return tuple(
            tuple(Prediction(i, self.label(i), p, row[i].item()) for p, i in zip(ps, best, strict=True))
            for row, ps, best in zip(logits, probabilities.tolist(), indices.tolist(), strict=True)
        )


def fold_label(label: str) -> str:
    """A label without what does not tell classes apart: case, underscores and repeated spaces."""
    return re.sub(r"[\s_]+", " ", label).strip().casefold()


def _line(error: Exception) -> str:
    """The first line of an error of torch, without its full stop."""
    return str(error).partition("\n")[0].rstrip(". ")


_SLACK = 1e-3
_SIZE_ERRORS = (RuntimeError, AssertionError, ValueError, IndexError)  # raised by modules for images of a wrong size
