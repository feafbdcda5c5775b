"""Activations of a survey projected back to the pixels that made them: Zeiler and Fergus, patch by patch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.attribution.localize.boxes import to_photograph
from phosphene.core.errors import ImageError, OptionError, OutputError, nearest
from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Box, Images, Network
from phosphene.core.result import Cost
from phosphene.studies.evidence.crops import Tell, photographs, silent
from phosphene.studies.evidence.kept import Kept
from phosphene.studies.evidence.neurons import METHODS, Method, Way, back, default_method, window
from phosphene.survey.engine.patch_boxes import input_box
from phosphene.survey.store.run import Patch, Run
from phosphene.survey.store.seal import CACHE

__all__ = ["Method", "Projection", "default_method", "project"]

BATCH = 4
"""Patches that go through the network together."""

CLOSE, FLOOR = 1e-4, 1e-5
"""Relative and absolute difference up to which a reproduced activation is the recorded one."""

VERSION = 2
"""Of how projections are made; to be raised when the same patch would give other values."""


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """One activation of one image, projected back to its pixels.

    Args:
        patch: whose activation.
        values: (3, H, W), signed, at the size of the input of the network; 0 outside the receptive field.
        field: the box of the input that is shown: the receptive field or, where that is the whole picture or it was
            asked for, the effective field, a square around 95 % of the magnitude of the gradient of the activation.
        box: the same in pixels of the original file.
        method: that projected.
        activation: as the network gives it now; NaN where the photograph is lost.
        effective: whether `field` is the effective one.
        cost: passes that it took now; none where it was kept.
        note: why it is blank, or not to be believed; "" where there is nothing to say.
    """

    patch: Patch
    values: Tensor = dataclasses.field(repr=False)
    field: Box
    box: Box
    method: Method
    activation: float
    effective: bool = False
    cost: Cost = Cost()
    note: str = ""

    def picture(self, side: int | None = None, *, beyond: float = 0.2) -> Uint8Image:
        """The values within the field around mid-grey, uint8 (h, w, 3), on a scale of its own; see `drawing.signed`.

        The scale ends where all that is stronger holds a given share of the summed magnitude: unlike a quantile of the
        pixels, it gives a few lines on a large empty field and a small full field the same contrast.

        Args:
            side: length of the longer side, in pixels, to which the values are resized before the scale is found, so
                that fine lines keep their contrast; None for the pixels of the input.
            beyond: share of the magnitude that is at the end of the scale or beyond it, in [0, 1).
        """
        values = window(self.values, self.field)[None]
        if side is not None:
            size = [max(1, round(side * each / max(values.shape[2:]))) for each in values.shape[2:]]
            values = F.interpolate(values, size, mode="bicubic", antialias=True)
        strengths = values.abs().flatten().cpu().double().sort().values
        most = strengths[int((strengths.cumsum(0) < (1 - beyond) * strengths.sum()).sum())].item()
        return drawing.signed(values.clamp(-most, most), quantile=1)[0]


def project(
    network: Network,
    run: Run,
    patches: Sequence[Patch],
    *,
    method: Method | None = None,
    effective: bool = False,
    tell: Tell = silent,
) -> tuple[Projection, ...]:
    """Every patch projected back by itself: from its own place, with its own activation and its own switches.

    Projections are kept in the folder of the survey, under cache/, by all that they depend on; those of a network whose
    weights have no hash are not. Cost: for each that is not there one forward pass, up to the layer, and one backward;
    one more backward, for the effective field, where the method is the deconvnet.

    Args:
        network: that was surveyed.
        run: the survey.
        patches: of it, all of one layer.
        method: deconvnet, guided-backprop or gradient; see `default_method`.
        effective: cut all to the effective field, not those alone whose receptive field is the whole picture.
        tell: hears, in one line, that nothing can be kept.

    Raises:
        RunError: another network was surveyed.
        RuleError: the method wants ReLUs, and there are none.

    Reference: Zeiler & Fergus, ECCV 2014, section 3.1.
    """
    run.check_network(network)
    if not patches:
        return ()
    method = method or default_method(network, patches[0].layer)
    if method not in METHODS:
        raise OptionError(f"no projection is called {method!r}; {nearest(method, METHODS)}")
    projector = _Projector(network, run, method, effective)
    found = {at: kept for at, patch in enumerate(patches) if (kept := projector.kept(patch))}
    todo = {at: patch for at, patch in enumerate(patches) if at not in found}
    for places, images in _batches(network, run, todo):
        if isinstance(images, ImageError):
            found.update((at, projector.lost(patches[at], images)) for at in places)
            continue
        ways = back(network, images, [patches[at] for at in places], method)
        for at, way in zip(places, ways, strict=True):
            tell = projector.keep(patches[at], way, tell)
            found[at] = projector.projection(patches[at], way, Cost(1, 1 + (method == "deconvnet")))
    return tuple(found[at] for at in range(len(patches)))


def _batches(
    network: Network, run: Run, patches: Mapping[int, Patch]
) -> Iterator[tuple[tuple[int, ...], Images | ImageError]]:
    """Keys of the patches, a few at a time, with their images, or with why these are lost."""
    keys, waiting = list(patches), list[tuple[int, Images]]()
    for found, places in photographs(run, list(patches.values())):
        if isinstance(found, ImageError):
            yield tuple(keys[place] for place in places), found
            continue
        images = network.prepare(found).images
        waiting += [(keys[place], images) for place in places]
        while len(waiting) >= BATCH:
            yield _together(waiting[:BATCH])
            del waiting[:BATCH]
    if waiting:
        yield _together(waiting)


def _together(waiting: Sequence[tuple[int, Images]]) -> tuple[tuple[int, ...], Images]:
    keys, images = zip(*waiting, strict=True)
    return keys, torch.cat(images)


@dataclasses.dataclass(frozen=True)
class _Projector:
    """What all projections of one call have in common, and where they are kept."""

    network: Network
    run: Run
    method: Method
    effective: bool

    def kept(self, patch: Patch) -> Projection | None:
        """The projection of a patch, if it was made before."""
        arrays = self._shelf.find(self._key(patch)) if self.network.sha256 else None
        return self.projection(patch, Way(**arrays), Cost()) if arrays else None

    def keep(self, patch: Patch, way: Way, tell: Tell) -> Tell:
        """Keep what came back. Whom to tell next time: nobody, once it was told that nothing can be kept."""
        try:
            if self.network.sha256:
                self._shelf.keep(self._key(patch), way._asdict())
        except OutputError as error:
            tell(f"projections are not kept: {error}")
            return silent
        return tell

    def projection(self, patch: Patch, way: Way, cost: Cost) -> Projection:
        """What came back as a projection, with what is to be said of it."""
        values, peak = torch.zeros(3, *self.network.preprocess.size), way.peak.item()
        if math.isfinite(peak):
            window(values, way.seen.tolist()).copy_(torch.from_numpy(way.values.astype(np.float32) * way.peak))
        field, box, effective = Box(*way.seen.tolist()), patch.box, patch.whole or self.effective
        if effective:
            shown = Box(*(float(self.run.images[side][patch.image]) for side in Box._fields))
            field = Box(*way.effective.tolist())
            box = to_photograph(field, self.network.preprocess.size, shown)
        activation = way.activation.item()
        note = self._note(patch, activation, peak)
        return Projection(patch, values, field, box, self.method, activation, effective, cost, note)

    def lost(self, patch: Patch, why: ImageError) -> Projection:
        """What stands for the projection of a photograph that is lost."""
        size = self.network.preprocess.size
        field = Box(0, 0, *size)
        if not patch.whole:
            field = input_box(self.network, patch.layer, patch.row, patch.column)
        return Projection(patch, torch.zeros(3, *size), field, patch.box, self.method, math.nan, note=str(why))

    def _note(self, patch: Patch, activation: float, peak: float) -> str:
        name = f"{patch.layer}:{patch.channel}"
        if not math.isclose(activation, patch.activation, rel_tol=CLOSE, abs_tol=FLOOR):
            return (
                f"{name} in {self.run.source(patch.image)} is {activation:.5g} and was {patch.activation:.5g}: the "
                "network, the file or the decoder changed since the survey"
            )
        if not math.isfinite(peak):
            return f"{name} is blank where numbers on the way back are not finite"
        if not peak:
            return f"{name} is blank where {'it did not fire' if activation <= 0 else 'no ReLU below lets it through'}"
        return ""

    def _key(self, patch: Patch) -> str:
        image, place = str(self.run.images["sha256"][patch.image]), (patch.channel, patch.row, patch.column)
        model = self.network.sha256, repr(self.network.preprocess)
        return Kept.key(*model, image, patch.layer, *place, self.method, VERSION)

    @property
    def _shelf(self) -> Kept:
        return Kept(self.run.folder / CACHE)
