"""What a dream is about: all that a layer sees, or what it sees in another picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.inputs import OnePicture, Target, bind_target, one_input, prepare_inputs
from phosphene.core.networks.anatomy import dream_layer
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel


@dataclasses.dataclass(frozen=True)
class Energy(Objective, name="energy"):
    """Half the mean square of a layer: whatever it sees in an image, more of it.

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
class Likeness(Objective, name="likeness"):
    """Each place of a layer is to grow more like that place of a guide that it resembles most.

    score = mean over places p of a(p) · g(q), q = argmax a(p) · g(q). Products are taken in chunks, so that memory does
    not grow with the product of both sizes.

    Args:
        layer: name of the layer.
        features: (C, Q) of the layer, at every place of the guide.
        guide: what to call it.

    Reference: Mordvintsev, Olah & Tyka, notebook of "Inceptionism", 2015.
    """

    layer: str
    features: Tensor = dataclasses.field(repr=False)
    guide: str = "guide"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        found = _places(activations[self.layer])
        most = max(1, _PRODUCTS // (len(found) * self.features.shape[1]))
        with torch.no_grad():
            nearest = torch.cat([(self.features.T @ each).argmax(1) for each in torch.split(found, most, 2)], 1)
        return (found * self.features[:, nearest].transpose(0, 1)).sum(1).mean(1)

    def __str__(self) -> str:
        return f"{self.layer} like {self.guide}"


def likeness(network: Network, layer: str, guide: Images, *, name: str = "guide") -> Likeness:
    """The wish to look like a guide to some layer. Cost: one truncated pass.

    Args:
        network: whose layer.
        layer: its name.
        guide: (1, 3, H, W), of a size that the network takes.
        name: what to call the guide.

    Raises:
        LayerError: no such layer.
    """
    with torch.no_grad():
        return Likeness(layer, _places(network.tap(guide, [layer])[layer].float())[0].clone(), name)


def about(
    network: Network,
    target: Target | None = None,
    *,
    layers: Sequence[str] = (),
    channel: int | None = None,
    guide: OnePicture | None = None,
) -> Objective:
    """What a dream is about: a target, or some layers, or one channel, or what some layers see in a guide.

    Several layers count alike, whatever the size of their numbers: each is divided by its value on a grey noise.

    Args:
        network: dreams.
        target: as the target grammar writes it; excludes all that follows.
        layers: names; `dream_layer` where there are none.
        channel: of the one layer.
        guide: a picture of any size.

    Raises:
        OptionError: what excludes each other.
        LayerError: no such layer, or none to choose.
        TargetError: no such class or unit.

    >>> print(about(tiny, layers=["features.2"]), "|", about(tiny, layers=["features.2"], channel=1))
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
        shown = one_input(prepare_inputs(network, guide), "dream")
        called = shown.pictures[0].name
        terms = [likeness(network, name, shown.images, name=called) for name in names]
    return terms[0] if len(terms) == 1 else _alike(network, terms)


def hasten(network: Network, objective: Objective, passes: int) -> Network:
    """The network, or its fused copy where so many passes repay the making.

    Args:
        network: dreams.
        objective: of what.
        passes: of tiles, forward and backward, in all.
    """
    return fused(network, objective.reads - {"input"}) if passes >= REPAID else network


def unmoved(objective: Objective, scores: Tensor) -> list[str]:
    """What must be said of pictures that no step has moved the score of.

    Args:
        objective: of the dream.
        scores: (steps, N), of all octaves.
    """
    done = scores[scores.isfinite().all(1)]
    if len(done) < 2:
        return []
    still = done.amax(0) - done.amin(0) <= _STILL * done.abs().amax(0)
    where = "this picture" if len(still) == 1 else f"{still.sum()} of {len(still)} pictures"
    why = f"{objective} did not move on {where}; choose another layer, channel or target"
    return [f"nothing was dreamed: {why}"] if still.any() else []


def _alike(network: Network, terms: Sequence[Objective]) -> Objective:
    """The sum of objectives, each by its value on a grey noise."""
    noise = 0.5 + 0.1 * torch.randn(1, 3, *network.preprocess.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        read = network.tap(noise.clamp(0, 1).to(network.device), frozenset().union(*(each.reads for each in terms)))
        first, *rest = (float(f"{1 / max(abs(each(read).item()), 1e-6):.3g}") * each for each in terms)
    return sum(rest, start=first)


def _places(activations: Tensor) -> Tensor:
    """(N, C, places)."""
    return activations.flatten(2) if activations.ndim > 2 else activations[..., None]


_PRODUCTS = 1 << 22
_STILL = 1e-3  # share of itself that the energy of a layer norm moves by, from rounding and eps
REPAID = 32  # passes; some twenty save what the making costs
