"""How far to believe a map: cover what it shows, cover as much elsewhere, and compare how far the target falls."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from phosphene.attribution.evaluate.deletion import match, order
from phosphene.attribution.localize.boxes import saliency
from phosphene.attribution.perturbation.engine import TRIAL, Engine, Fill, Masks, filling
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.grammar import resolve
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import ChannelMax, Neuron
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True, eq=False)
class Covering:
    """How far a target falls when the pixels that a map shows are covered, and when as many others are.

    Args:
        targets: of each image, as text.
        unit: of all that follows.
        before: the target of each uncovered image, (N,).
        fall: before, less the target with what the map shows covered, (N,).
        control: the same for covers of the same shape elsewhere, (N, controls).
        shares: of the pixels that are covered, in [0, 1], (N,).
        fill: what the cover shows.
        cost: passes.
    """

    targets: tuple[str, ...]
    unit: str
    before: Tensor
    fall: Tensor
    control: Tensor
    shares: Tensor
    fill: Fill
    cost: Cost

    @property
    def ratio(self) -> Tensor:
        """The fall over the mean fall of the controls, (N,); not finite, or negative, where those do not fall."""
        return self.fall / self.control.mean(1)

    @property
    def beats(self) -> Tensor:
        """Share of the controls under which the target falls less, in [0, 1], (N,)."""
        return (self.fall[:, None] > self.control).float().mean(1)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "targets": list(self.targets),
            "unit": self.unit,
            "before": self.before.tolist(),
            "fall": self.fall.tolist(),
            "control_mean": self.control.mean(1).tolist(),
            "control_std": self.control.std(1, correction=0).tolist(),
            "beats": self.beats.tolist(),
            "shares": self.shares.tolist(),
            "fill": self.fill,
            "cost": dataclasses.asdict(self.cost),
        }


def covering(
    network: Network,
    images: Images,
    values: Tensor,
    target: str | int | Objective,
    *,
    share: float = 0.05,
    controls: int = 10,
    fill: Fill = "blur",
    seed: int = 0,
) -> Covering:
    """Whether the pixels that a map shows are those that the target needs.

    For a deconvnet projection: cover the pixels where it is strongest, and that activation must fall, further than when
    as many pixels are covered elsewhere. The strongest activation of a channel is followed at the place where it was.
    Pixels where the map is 0 are never covered. The controls are the same cover, shifted at random, wrapped around the
    border. Cost: 2 + controls forward passes for each image, up to the last layer that the target reads, one more where
    a place must be found, and the trial of the engine.

    Args:
        network: whose unit the map explains.
        images: (N, 3, H, W), RGB in [0, 1].
        values: the maps, (N, 1 or 3, H, W).
        target: what they explain, such as "blocks.4:17@max".
        share: of the pixels to cover at most, in (0, 1).
        controls: how many shifted covers.
        fill: what the cover shows; see `perturb.filling`.
        seed: of the shifts and of the noise.

    Raises:
        ImageError: images and maps differ in number or size.
        OptionError: no controls, or a share that covers nothing or everything.

    Reference: Zeiler & Fergus, ECCV 2014, section 4.2, turned on the projection itself.

    >>> covering(tiny, images, torch.rand(2, 3, 32, 32), "features.5:3").control.shape
    torch.Size([2, 10])
    """
    images = network.check(images)
    target = resolve(target, network, images)
    match(images, values)
    count = round(share * images[0, 0].numel())
    if controls < 1 or not 0 < count < images[0, 0].numel():
        raise OptionError(f"controls={controls}, share={share:g}: want at least 1, and a share that covers some pixels")
    engine, shifts = Engine(network, target.reads), _shifts(controls, *images.shape[2:], seed=seed)
    shown = (order(values) < count) & (saliency(values) > 0)
    scores, targets = [], _places(network, images, target)
    for image, cover, place in zip(images, shown.to(images.device), targets, strict=True):
        covers = torch.stack([torch.zeros_like(cover), *(cover.roll(shift, (0, 1)) for shift in shifts)])
        masks = (~covers[:, None]).to(image)
        copies = Masks(len(masks), masks.__getitem__, filling(fill, network, image[None], seed=seed))
        scores.append(engine.run(image[None], copies, place.reads, place))
    found = torch.stack(scores)
    before, falls = found[:, 0], found[:, :1] - found[:, 1:]
    return Covering(
        targets=tuple(map(str, targets)),
        unit=target.unit,
        before=before,
        fall=falls[:, 0],
        control=falls[:, 1:],
        shares=shown.float().mean((1, 2)),
        fill=fill,
        cost=Cost(forwards=found.numel() + TRIAL + len(images) * isinstance(target, ChannelMax)),
    )


def _places(network: Network, images: Images, target: Objective) -> list[Objective]:
    """The target of each image: where it is the maximum of a channel, the neuron that was the maximum."""
    if not isinstance(target, ChannelMax) or not network.layer(target.layer).spatial:
        return [target] * len(images)
    with torch.no_grad():
        maps = network.tap(images, target.reads)[target.layer][:, target.channel]
    places = maps.flatten(1).argmax(1).tolist()
    return [Neuron(target.layer, target.channel, *divmod(place, maps.shape[2])) for place in places]


def _shifts(controls: int, height: int, width: int, *, seed: int) -> list[tuple[int, int]]:
    """No shift, then so many others, all different from it."""
    random = torch.Generator().manual_seed(seed)
    places = torch.randint(1, height * width, (controls,), generator=random).tolist()
    return [(0, 0), *(divmod(place, width) for place in places)]
