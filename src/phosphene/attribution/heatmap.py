"""The result of a method: raw values, and where they came from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene.attribution.attribution import Attribution, MethodLike, bind_method, forward_pass
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.core import files, user_code
from phosphene.core.errors import OptionError
from phosphene.core.images import drawing
from phosphene.core.images.drawing import Scale
from phosphene.core.images.image import Uint8Image, levels
from phosphene.core.inputs import Pictures, Target, bind_target, prepare_inputs
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import File, Result


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Heatmap(Result):
    """The maps of one method for one target: raw values, and everything needed to trust or repeat them.

    Args:
        values: (N, 1 or 3, H, W), raw and signed, at the size of the images.
        images: (N, 3, H, W), the input of the network.
        method: with all its options.
        target: that was explained.
        scores: value of the target for each image, (N,).
        network: that was explained.
        layer: at which the map was computed; "" for the pixels.
    """

    verb: str = "attribute"

    values: Tensor
    images: Images
    method: Attribution
    target: Objective
    scores: Tensor
    network: Network
    layer: str = ""

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.values.shape))
        return f"<Heatmap {self.name} of {self.target} in {self.network.name}, {shape}>"

    @property
    def name(self) -> str:
        """The registered name of the method."""
        assert self.method.name is not None
        return self.method.name

    @property
    def unit(self) -> str:
        """Unit of the values."""
        return self.method.unit.replace("target", self.target.unit)

    def picture(self, index: int = 0) -> tuple[Uint8Image, Scale]:
        """The map of one image, drawn as its method wants it, uint8 (H, W, 3), and the scale of its colors."""
        values = self.values[index]
        if self.method.display == "color":
            return drawing.signed(values, unit=self.unit)
        if self.method.display == "magnitude":
            return drawing.magnitude(values, unit=self.unit)
        if self.method.display == "classes":
            return drawing.class_colors(values[0], unit=self.unit)
        return drawing.heatmap(values.sum(0), unit=self.unit)

    def overlay(self, index: int = 0) -> tuple[Uint8Image, Scale]:
        """The map of one image over that image, uint8 (H, W, 3), and the scale of its colors."""
        values = self.values[index]
        if self.method.display == "classes":
            drawn, scale = self.picture(index)
            return levels((self.images[index].cpu().numpy().transpose(1, 2, 0) + drawn / 255.0) / 2), scale
        return drawing.overlay(
            self.images[index], values.sum(0) if self.method.display == "heat" else values, unit=self.unit
        )

    def files(self) -> Iterator[File]:
        """The raw values, and the map and its overlay of each image."""
        about: dict[str, Any] = {
            "method": self.name,
            "layer": self.layer,
            "target": str(self.target),
            "unit": self.unit,
        }
        stem = files.slug(self.name)
        yield File.array(f"{stem}.npy", self.values.cpu().numpy(), **about)
        for i in range(len(self.values)):
            number = f"-{i}" if len(self.values) > 1 else ""
            pixels, scale = self.picture(i)
            yield File.picture(f"{stem}{number}-picture.png", pixels, **about, scale=[scale.low, scale.high])
            pixels, scale = self.overlay(i)
            path = f"{stem}{number}-overlay.png"
            yield File.picture(path, pixels, kind="overlay", **about, scale=[scale.low, scale.high])

    def facts(self) -> Mapping[str, Any]:
        """The value of the target for each image."""
        return {"scores": self.scores.tolist()}

    def pictures(self) -> list[Uint8Image]:
        """The map and its overlay of each image."""
        return [pixels for i in range(len(self.values)) for pixels, _ in (self.picture(i), self.overlay(i))]

    def lines(self) -> tuple[str, ...]:
        """The value of the target for each image."""
        names = [picture.name for picture in self.inputs] or [f"image {i}" for i in range(len(self.scores))]
        return tuple(
            f"{name}: {self.name} for {self.target} ({score:.2f} {self.target.unit}), {self.cost}"
            for name, score in zip(names, self.scores.tolist(), strict=True)
        )


def attribute_all(
    network: Network, pictures: Pictures, targets: Sequence[Target], methods: Sequence[MethodLike]
) -> list[Heatmap]:
    """The maps of several methods for several targets, all from one forward pass where that is possible.

    The cost of each heatmap is what its method took besides the shared forward pass.

    Args:
        network: that is explained.
        pictures: see `attribute`.
        targets: to explain, each of them in all pictures.
        methods: see `attribute`.

    Returns:
        the heatmaps of the first target in the order of the methods, then those of the next.
    """
    if not targets or not methods:
        raise OptionError("nothing to compute: give at least one target and one method")
    with torch.inference_mode(mode=False):  # the caller may have turned it on, and gradients need it off
        images = prepare_inputs(network, pictures).images
        bound = [bind_target(network, target, images) for target in targets]
        chosen = [bind_method(network, method) for method in methods]
        run = forward_pass(network, images, bound, chosen)
        return [heatmap(run, method, target) for target in bound for method in chosen]


def heatmap(run: ForwardPass, method: Attribution, target: Objective) -> Heatmap:
    """The map of one method from a recorded forward pass, with its provenance."""
    start = time.perf_counter()
    values = _values(run, method, target)
    cost = dataclasses.replace(method.cost(run.network, run.images), seconds=time.perf_counter() - start)
    layer, why = method.layer_for(run.network, target)
    logits = run.activations.get("logits")
    return Heatmap(
        values=values,
        images=run.images,
        method=method,
        target=target,
        scores=run.score(target),
        network=run.network,
        layer=layer,
        options=method.manifest(),
        predictions=run.network.top_classes(logits[:1])[0] if logits is not None and logits.ndim == 2 else (),
        seed=getattr(method, "seed", 0),
        cost=cost,
        notes=(*((f"{layer}: {why}",) if why else ()), *method.notes(run, target, values)),
    )


def _values(run: ForwardPass, method: Attribution, target: Objective) -> Tensor:
    """The map; what the code of a plugin does wrong becomes one line that names it.

    Raises:
        OptionError: the method of a plugin raised an error, or returned something else than a map.
    """
    if type(method).__module__.startswith("phosphene."):
        return method.map(run, target).detach()
    values = user_code.called(f"the method {method.name}", lambda: method.map(run, target), OptionError)
    count, _, *size = run.images.shape
    shapes = [(count, channels, *size) for channels in (1, 3)]
    if not isinstance(values, Tensor) or tuple(values.shape) not in shapes:
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise OptionError(f"the method {method.name} returned {given}; a map is {shapes[0]} or {shapes[1]}")
    return values.detach()
