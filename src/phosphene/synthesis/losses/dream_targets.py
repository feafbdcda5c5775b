"""Objectives of DeepDream: the energy of a layer, or its similarity to the features of a guide."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.inputs import OnePicture, Target, as_picture, bind_target
from phosphene.core.networks.anatomy import dream_layer
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel


@dataclasses.dataclass(frozen=True)
class Energy(Objective, name="energy"):
    """Half the mean square of a layer: the features that are active in an image become stronger.

    Args:
        layer: name of the layer.

    Reference: Mordvintsev, Olah & Tyka, "Inceptionism", Google Research Blog 2015.

    >>> Energy("conv")({"conv": torch.full((2, 3, 4, 4), 2.0)})
    tensor([2., 2.])
    """

    layer: str

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        return activations[self.layer].flatten(1).square().mean(1) / 2

    def bind(self, network: Network) -> Objective:
        """The same layer, known to exist."""
        network.shape(self.layer)
        return self

    def __str__(self) -> str:
        return f"all of {self.layer}"


@dataclasses.dataclass(frozen=True, eq=False)
class GuideMatch(Objective, name="guide-match"):
    """Dot product of the features at each place of a layer with the features of the guide that match them best.

    score = mean over places p of a(p) · g(q), q = argmax a(p) · g(q). Products are computed in chunks, so that memory
    does not grow with the product of both sizes.

    Args:
        layer: name of the layer.
        features: (C, Q) of the layer, at every place of the guide.
        guide: what to call it.

    Reference: Mordvintsev, Olah & Tyka, notebook of "Inceptionism", 2015.
    """

    layer: str
    features: Tensor = dataclasses.field(repr=False)
    guide: str = "guide"

    @classmethod
    def of(cls, network: Network, guide: Images, layer: str, *, name: str = "guide") -> GuideMatch:
        """The match with the features of a guide. Cost: one truncated pass.

        Args:
            network: whose layer.
            guide: (1, 3, H, W), of a size that the network takes.
            layer: its name.
            name: what to call the guide.

        Raises:
            LayerError: no such layer.
        """
        with torch.no_grad():
            return cls(layer, _places(network.tap(guide, [layer])[layer].float())[0].clone(), name)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        features = _places(activations[self.layer])
        most = max(1, _PRODUCTS // (len(features) * self.features.shape[1]))
        with torch.no_grad():
            chunks = torch.split(features, most, 2)
            best = torch.cat([(self.features.T @ chunk).argmax(1) for chunk in chunks], 1)
        return (features * self.features[:, best].transpose(0, 1)).sum(1).mean(1)

    def __str__(self) -> str:
        return f"{self.layer} like {self.guide}"


def dream_target(
    network: Network,
    target: Target | None = None,
    *,
    layers: Sequence[str] = (),
    channel: int | None = None,
    guide: OnePicture | None = None,
) -> Objective:
    """The objective of a dream: a target, or the energy of layers, or one channel, or the match with a guide.

    Several layers have equal weight: each is divided by its value on grey noise.

    Args:
        network: whose layers.
        target: as the target grammar writes it; excludes all that follows.
        layers: names; `dream_layer` where there are none.
        channel: of the one layer.
        guide: a picture of any size.

    Raises:
        OptionError: options that exclude each other.
        LayerError: no such layer, or none to choose.
        TargetError: no such class or unit.

    >>> energy, channel = (dream_target(tiny, layers=["features.2"], channel=channel) for channel in (None, 1))
    >>> print(energy, "|", channel)
    all of features.2 | features.2:1
    """
    if target is not None:
        if layers or channel is not None or guide is not None:
            raise OptionError(f"a dream of {target} takes no layer, channel or guide; leave them out, or the target")
        return bind_target(network, target)
    names = tuple(layers) or (dream_layer(network),)
    if channel is not None:
        if guide is not None or len(names) > 1:
            raise OptionError(f"channel {channel} is of one layer, without a guide; leave one of them out")
        return Channel(names[0], channel).bind(network)
    terms: list[Objective] = [Energy(name).bind(network) for name in names]
    if guide is not None:
        picture = as_picture(guide)
        images = network.prepare(picture).images
        terms = [GuideMatch.of(network, images, name, name=picture.name) for name in names]
    return terms[0] if len(terms) == 1 else _equal_weights(network, terms)


def constant_score(objective: Objective, scores: Tensor) -> list[str]:
    """A note on images whose score no step has changed.

    Args:
        objective: of the dream.
        scores: (steps, N), of all octaves.
    """
    done = scores[scores.isfinite().all(1)]
    if len(done) < 2:
        return []
    constant = done.amax(0) - done.amin(0) <= _ROUNDING * done.abs().amax(0)
    where = "this picture" if len(constant) == 1 else f"{constant.sum()} of {len(constant)} pictures"
    reason = f"{objective} did not move on {where}; choose another layer, channel or target"
    return [f"nothing was dreamed: {reason}"] if constant.any() else []


def _equal_weights(network: Network, terms: Sequence[Objective]) -> Objective:
    """The sum of objectives, each divided by its value on grey noise."""
    noise = 0.5 + 0.1 * torch.randn(1, 3, *network.preprocess.size, generator=torch.Generator().manual_seed(0))
    reads = frozenset[str]().union(*(term.reads for term in terms))
    with torch.no_grad():
        activations = network.tap(noise.clamp(0, 1).to(network.device), reads)
        scales = [float(f"{1 / max(abs(term(activations).item()), 1e-6):.3g}") for term in terms]
    first, *rest = (scale * term for scale, term in zip(scales, terms, strict=True))
    return sum(rest, start=first)


def _places(activations: Tensor) -> Tensor:
    """(N, C, places)."""
    return activations.flatten(2) if activations.ndim > 2 else activations[..., None]


_PRODUCTS = 1 << 22
_ROUNDING = 1e-3  # share of itself by which the energy of a layer norm changes, from rounding and eps
