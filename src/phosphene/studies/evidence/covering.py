"""Whether activations need the pixels that their projections show, by `attribution.evaluate.covering`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from phosphene.attribution.evaluate.covering import Covering, covering
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.core.result import Cost
from phosphene.studies.evidence.backprojection import Backprojection
from phosphene.studies.evidence.crops import read_photographs
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run


def cover_projections(
    network: Network,
    run: Run,
    projections: Sequence[Backprojection],
    *,
    share: float = 0.1,
    controls: int = 5,
    seed: int = 0,
) -> Covering:
    """Cover, with a blur, the pixels that projections of one layer show, and measure the projected activations.

    The strongest pixels of each projection are covered, then, as controls, as many elsewhere in the same receptive
    field. Projections that are blank, of an activation that is not positive or of a photograph that cannot be read are
    left out. Cost: 1 + controls forward passes for each projection, up to the layer, and those that set an engine up.

    Args:
        network: that was surveyed.
        run: the survey.
        projections: of patches of one layer.
        share: of the pixels of the field to cover, at most, in (0, 1).
        controls: number of shifted covers.
        seed: of the shifts.

    Raises:
        OptionError: no controls, or a share that covers nothing or everything.

    Reference: Zeiler & Fergus, ECCV 2014, section 4.2, applied to the projection itself.
    """
    if controls < 1 or not 0 < share < 1:
        raise OptionError(f"controls={controls}, share={share:g}: want at least 1, and a share in (0, 1)")
    usable = [projection for projection in projections if projection.values.any() and projection.activation > 0]
    images, covered = [], []
    for photograph, indices in read_photographs(run, [projection.patch for projection in usable]):
        if not isinstance(photograph, ImageError):
            images += [network.prepare(photograph).images] * len(indices)
            covered += [usable[index] for index in indices]
    if not covered:
        return Covering(
            (), "activation", *(torch.zeros(0),) * 2, torch.zeros(0, controls), torch.zeros(0), "blur", Cost()
        )
    return covering(
        network,
        torch.cat(images),
        torch.stack([projection.values for projection in covered]),
        [_target(network, projection.patch) for projection in covered],
        share=share,
        controls=controls,
        seed=seed,
        boxes=[projection.field for projection in covered],
        before=torch.tensor([projection.activation for projection in covered], dtype=torch.float64),
    )


def _target(network: Network, patch: Patch) -> Objective:
    if len(network.shape(patch.layer)) == 1:
        return Channel(patch.layer, patch.channel)
    return Neuron(patch.layer, patch.channel, patch.row, patch.column)
