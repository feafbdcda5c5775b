"""Are the pixels that a projection shows those that made the activation? Hide them, and hide as many elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from phosphene.attribution.localize.boxes import saliency
from phosphene.attribution.perturbation.engine import Engine, Masks, filling
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.core.result import Cost
from phosphene.studies.evidence.backprojection import Backprojection
from phosphene.studies.evidence.crops import read_photographs
from phosphene.survey.store.run import Patch, Run


@dataclasses.dataclass(frozen=True)
class Hiding:
    """How far activations fall when the pixels that their projections show are hidden, and when as many others are.

    Args:
        fall: what is lost of each activation, as a share of it.
        control: the same, on average over regions of the same shape elsewhere in the receptive field.
        beats: share of those regions that lose less, in [0, 1].
        share: of the pixels of the field that are hidden.
        cost: passes.
    """

    fall: tuple[float, ...]
    control: tuple[float, ...]
    beats: tuple[float, ...]
    share: float
    cost: Cost = Cost()

    def __str__(self) -> str:
        if not self.fall:
            return "nothing to hide"
        # Medians: the share that an activation near zero loses can be anything.
        return f"falls by {median(self.fall):.0%}, elsewhere {median(self.control):.0%}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def hide(
    network: Network,
    run: Run,
    projections: Sequence[Backprojection],
    *,
    share: float = 0.1,
    controls: int = 5,
    seed: int = 0,
) -> Hiding:
    """Hide what projections of one layer show, under a blur, and measure the activations that they project.

    The pixels of the field where a projection is strongest are hidden; then, as controls, the same region shifted at
    random within the field, so that a control too hides what the unit can see. Projections that are blank, of an
    activation that is not positive or of a photograph that is lost are left out. Cost: 1 + controls forward passes for
    each projection, up to the layer.

    Args:
        network: that was surveyed.
        run: the survey.
        projections: of patches of one layer.
        share: of the pixels of the field to hide, at most, in (0, 1).
        controls: how many shifted regions.
        seed: of the shifts.

    Raises:
        OptionError: no controls, or a share that hides nothing or everything.

    Reference: Zeiler & Fergus, ECCV 2014, section 4.2, turned on the projection itself.
    """
    if controls < 1 or not 0 < share < 1:
        raise OptionError(f"controls={controls}, share={share:g}: want at least 1, and a share in (0, 1)")
    random, engine = torch.Generator().manual_seed(seed), None
    usable = [each for each in projections if each.values.any() and each.activation > 0]
    rows: list[tuple[float, float, float]] = []
    for photograph, places in read_photographs(run, [each.patch for each in usable]):
        if isinstance(photograph, ImageError):
            continue
        image = network.prepare(photograph).images
        for each in (usable[place] for place in places):
            engine = engine or Engine(network, [each.patch.layer])
            masks = (~_regions(each, share, controls, random)[:, None]).to(image)
            copies = Masks(len(masks), masks.__getitem__, filling("blur", network, image))
            after = engine.run(image, copies, [each.patch.layer], _neuron(network, each.patch))
            falls = 1 - after.cpu().double() / each.activation
            shown, others = falls[0].item(), falls[1:]
            rows.append((shown, others.mean().item(), (others < shown).double().mean().item()))
    fall, control, beats = zip(*rows, strict=True) if rows else ((), (), ())
    return Hiding(fall, control, beats, share, Cost(forwards=len(rows) * (1 + controls)))


def _regions(projection: Backprojection, share: float, controls: int, random: torch.Generator) -> Tensor:
    """What is shown, and the same elsewhere in the field, bool (1 + controls, H, W)."""
    strength = saliency(projection.values[None])[0]
    regions = torch.zeros(1 + controls, *strength.shape, dtype=torch.bool)
    top, left, bottom, right = map(int, projection.field)
    window = strength[top:bottom, left:right]
    count = max(1, round(share * window.numel()))
    least = window.flatten().kthvalue(window.numel() - count + 1).values
    shown = (window >= least) & (window > 0)
    regions[0, top:bottom, left:right] = shown
    for region in regions[1:]:
        shift = int(torch.randint(1, max(2, window.numel()), (1,), generator=random))
        region[top:bottom, left:right] = shown.roll(divmod(shift, window.shape[1]), (0, 1))
    return regions


def _neuron(network: Network, patch: Patch) -> Objective:
    if len(network.shape(patch.layer)) == 1:
        return Channel(patch.layer, patch.channel)
    return Neuron(patch.layer, patch.channel, patch.row, patch.column)
