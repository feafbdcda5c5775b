"""Whether the target needs the pixels that a map shows: cover them, cover as many others, compare the falls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene.attribution.baseline import Fill, fill_image
from phosphene.attribution.evaluate.deletion import check_sizes, pixel_ranks
from phosphene.attribution.localize.boxes import saliency
from phosphene.attribution.perturbation.copies import Masks
from phosphene.attribution.perturbation.engine import Engines
from phosphene.core.errors import OptionError
from phosphene.core.inputs import Target, bind_target
from phosphene.core.networks.network import Box, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import ChannelMax, Neuron
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True, eq=False)
class Covering:
    """How far a target falls when the pixels that a map shows are covered, and when as many others are.

    Args:
        targets: of each image, as text.
        unit: of before, fall and control.
        before: the target of each uncovered image, (N,).
        fall: before, less the target with the pixels that the map shows covered, (N,).
        control: the same for covers of the same shape elsewhere, (N, controls).
        shares: of the pixels that are covered, in [0, 1], (N,).
        fill: what covered pixels show.
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

    def __str__(self) -> str:
        if not self.targets:
            return "nothing to cover"
        # Medians: the relative fall of a target near zero can be anything.
        fall, control = (values.quantile(0.5) for values in (self.relative_fall, self.control.mean(1) / self.before))
        return f"falls by {fall:.0%}, elsewhere {control:.0%}"

    @property
    def relative_fall(self) -> Tensor:
        """The fall as a share of the target of the uncovered image, (N,)."""
        return self.fall / self.before

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
    target: Target | Sequence[Target],
    *,
    share: float = 0.05,
    controls: int = 10,
    fill: Fill = "blur",
    seed: int = 0,
    boxes: Sequence[Box] | None = None,
    before: Tensor | None = None,
    engines: Engines | None = None,
) -> Covering:
    """Whether the target needs the pixels that a map shows.

    For a deconvnet projection: cover the pixels where it is strongest; the activation must fall, and further than when
    as many other pixels are covered. Where the target is the maximum of a channel, the neuron that was the maximum is
    measured. Pixels where the map is 0 are never covered. The controls are the same cover, shifted at random and
    wrapped around the border of the image or its box. Cost: 2 + controls forward passes for each image (1 + controls
    where `before` is given), one more where a maximum is located, and those that set an engine up.

    Args:
        network: whose unit the map explains.
        images: (N, 3, H, W), RGB in [0, 1].
        values: the maps, (N, 1 or 3, H, W).
        target: that they explain, such as "blocks.4:17@max"; or one objective for each image.
        share: of the pixels of the image, or of its box, to cover at most, in (0, 1).
        controls: number of shifted covers.
        fill: what covered pixels show; see `baseline.fill_image`.
        seed: of the shifts and of the noise.
        boxes: of each image, such as a receptive field, within which pixels are covered and covers shifted; by default
            the whole image, and the same shifts for all images.
        before: the target of each uncovered image, (N,), where it is known.
        engines: that run the passes, shared with other calls; new ones by default.

    Raises:
        ImageError: images and maps differ in number or size.
        OptionError: no controls, or a share that covers no or every pixel of the image; of a box one is always covered.

    Reference: Zeiler & Fergus, ECCV 2014, section 4.2, applied to the projection itself.

    >>> covering(tiny, images, torch.rand(2, 3, 32, 32), "features.5:3").control.shape
    torch.Size([2, 10])
    """
    images = network.check(images)
    size = images[0, 0].numel()
    if controls < 1 or not 0 < share < 1 or (boxes is None and not 0 < round(share * size) < size):
        raise OptionError(f"controls={controls}, share={share:g}: want at least 1, and a share that covers some pixels")
    check_sizes(images, values)
    located, targets = _located(network, images, target)
    engine, setup = (engines or Engines(network)).get(frozenset().union(*(one.reads for one in targets)))
    random, scores, shares = torch.Generator().manual_seed(seed), [], []
    for i, (image, one) in enumerate(zip(images[:, None], targets, strict=True)):
        if boxes is None:
            random.manual_seed(seed)
        box = boxes[i] if boxes else None
        covers = _covers(values[i : i + 1], box, share=share, controls=controls, random=random).to(images.device)
        shares.append(covers[0].float().mean())
        masks = _masks(image, covers, fill_image(fill, network, image, seed=seed), uncovered=before is None)
        scores.append(engine.run(image, masks, one.reads, one))
    after = torch.stack(scores)
    before, after = (after[:, 0], after[:, 1:]) if before is None else (before, after.to(before))
    falls = before[:, None] - after
    return Covering(
        targets=tuple(map(str, targets)),
        unit=targets[0].unit,
        before=before,
        fall=falls[:, 0],
        control=falls[:, 1:],
        shares=torch.stack(shares).cpu(),
        fill=fill,
        cost=setup + Cost(forwards=sum(map(len, scores)) + located),
    )


def _located(network: Network, images: Images, target: Target | Sequence[Target]) -> tuple[int, list[Objective]]:
    """Passes, and the target of each image: where it is the maximum of a channel, the neuron that is the maximum."""
    if isinstance(target, Sequence) and not isinstance(target, str):
        return 0, [bind_target(network, one) for one in target]
    bound = bind_target(network, target, images)
    if not isinstance(bound, ChannelMax) or not network.layer(bound.layer).spatial:
        return 0, [bound.of_image(i) for i in range(len(images))]
    with torch.no_grad():
        maps = network.tap(images, bound.reads)[bound.layer][:, bound.channel]
    positions = (divmod(index, maps.shape[2]) for index in maps.flatten(1).argmax(1).tolist())
    return len(images), [Neuron(bound.layer, bound.channel, row, column) for row, column in positions]


def _masks(image: Images, covers: Tensor, fill: Images, *, uncovered: bool) -> Masks:
    """Masks of the pixels that are not covered, after one of the whole image where the uncovered image is run, too."""
    covers = torch.cat([torch.zeros_like(covers[:1]), covers]) if uncovered else covers
    masks = (~covers[:, None]).to(image)
    return Masks(len(masks), masks.__getitem__, fill)


def _covers(values: Tensor, box: Box | None, *, share: float, controls: int, random: torch.Generator) -> Tensor:
    """The pixels that a map (1, C, H, W) shows, then the same shifted within the box, bool (1 + controls, H, W)."""
    covers = torch.zeros(1 + controls, *values.shape[2:], dtype=torch.bool, device=values.device)
    top, left, bottom, right = map(int, box or (0, 0, *values.shape[2:]))
    inside = values[:, :, top:bottom, left:right]
    count = max(1, round(share * inside[0, 0].numel()))
    strength = saliency(inside)[0]
    if box is None:
        strongest = pixel_ranks(inside)[0] < count
    else:  # projections of a survey are stored in half precision: pixels that equal the last one are covered, too
        strongest = strength >= strength.flatten().kthvalue(strength.numel() - count + 1).values
    shown = strongest & (strength > 0)
    covers[0, top:bottom, left:right] = shown
    for cover in covers[1:]:
        shift = int(torch.randint(1, max(2, shown.numel()), (1,), generator=random))
        cover[top:bottom, left:right] = shown.roll(divmod(shift, shown.shape[1]), (0, 1))
    return covers
