"""Activations of a survey projected back to pixels, as Zeiler and Fergus do, one patch at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.attribution.localize.boxes import box_in_photograph
from phosphene.core.errors import ImageError, OptionError, OutputError, did_you_mean
from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Box, Images, Network
from phosphene.core.result import Cost
from phosphene.studies.evidence.array_cache import ArrayCache
from phosphene.studies.evidence.crops import Notify, ignore, read_photographs
from phosphene.studies.evidence.neurons import (
    METHODS,
    NeuronGradient,
    ProjectionMethod,
    default_method,
    inside,
    neuron_gradients,
)
from phosphene.survey.engine.patch_boxes import input_box
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run
from phosphene.survey.store.seal import CACHE

BATCH = 4
"""Patches of a pass."""

CLOSE, FLOOR = 1e-4, 1e-5
"""Relative and absolute difference up to which a recomputed activation counts as the recorded one."""

VERSION = 3
"""Of the cached projections; raise it whenever the same patch would get other values."""


@dataclasses.dataclass(frozen=True, eq=False)
class Backprojection:
    """One activation of one image, projected back to its pixels.

    Args:
        patch: whose activation.
        values: (3, H, W), signed, at the size of the input of the network; 0 outside the receptive field.
        field: the box of the input that is shown: the receptive field or, where that is the whole picture or it was
            asked for, the effective field, a square around 95 % of the magnitude of the gradient of the activation.
        box: the same in pixels of the original file.
        method: that projected.
        activation: as the network computes it now; NaN where the photograph cannot be read.
        effective: whether `field` is the effective one.
        cost: passes that it took now; none where it was cached.
        note: why it is blank, or not reliable; "" where there is nothing to report.
    """

    patch: Patch
    values: Tensor = dataclasses.field(repr=False)
    field: Box
    box: Box
    method: ProjectionMethod
    activation: float
    effective: bool = False
    cost: Cost = Cost()
    note: str = ""

    def picture(self, side: int | None = None, *, beyond: float = 0.2) -> Uint8Image:
        """The values within the field around mid-grey, uint8 (h, w, 3), on a scale of its own; see `drawing.signed`.

        The scale ends at the magnitude above which a given share of the summed magnitude lies: unlike a quantile of the
        pixels, it gives a few lines in a large empty field and a small full field the same contrast.

        Args:
            side: length of the longer side, in pixels, to which the values are resized before the scale is computed, so
                that fine lines keep their contrast; None for the pixels of the input.
            beyond: share of the magnitude at the end of the scale or beyond it, in [0, 1).
        """
        values = inside(self.values, self.field)[None]
        if side is not None:
            size = [max(1, round(side * length / max(values.shape[2:]))) for length in values.shape[2:]]
            values = F.interpolate(values, size, mode="bicubic", antialias=True)
        magnitudes = values.abs().flatten().cpu().double().sort().values
        end = magnitudes[int((magnitudes.cumsum(0) < (1 - beyond) * magnitudes.sum()).sum())].item()
        return drawing.signed(values.clamp(-end, end), quantile=1)[0]


def backproject(
    network: Network,
    run: Run,
    patches: Sequence[Patch],
    *,
    method: ProjectionMethod | None = None,
    effective: bool = False,
    notify: Notify = ignore,
) -> tuple[Backprojection, ...]:
    """Project every patch back by itself: from its own place, with its own activation and its own switches.

    Projections are cached in the folder of the survey, under cache/, by all that they depend on, unless the weights
    have no hash. Cost: for each that is not cached one forward pass, up to the layer, and one backward; one more
    backward, for the effective field, where the method is the deconvnet.

    Args:
        network: that was surveyed.
        run: the survey.
        patches: of it, all of one layer.
        method: deconvnet, guided-backprop or gradient; see `default_method`.
        effective: cut all to the effective field, not only those whose receptive field is the whole picture.
        notify: called once where the cache cannot be written.

    Raises:
        RunError: another network was surveyed.
        RuleError: the method needs ReLUs, and there are none.

    Reference: Zeiler & Fergus, ECCV 2014, section 3.1.
    """
    run.check_network(network)
    if not patches:
        return ()
    method = method or default_method(network, patches[0].layer)
    if method not in METHODS:
        raise OptionError(f"no projection is called {method!r}; {did_you_mean(method, METHODS)}")
    projector = _Projector(network, run, method, effective)
    projections = {index: cached for index, patch in enumerate(patches) if (cached := projector.cached(patch))}
    missing = {index: patch for index, patch in enumerate(patches) if index not in projections}
    for indices, images in _batches(network, run, missing):
        if isinstance(images, ImageError):
            projections.update((index, projector.unreadable(patches[index], images)) for index in indices)
            continue
        gradients = neuron_gradients(network, images, [patches[index] for index in indices], method)
        for index, gradient in zip(indices, gradients, strict=True):
            notify = projector.store(patches[index], gradient, notify)
            cost = Cost(1, 1 + (method == "deconvnet"))
            projections[index] = projector.projection(patches[index], gradient, cost)
    return tuple(projections[index] for index in range(len(patches)))


def _batches(
    network: Network, run: Run, patches: Mapping[int, Patch]
) -> Iterator[tuple[tuple[int, ...], Images | ImageError]]:
    """Keys of the patches, a few at a time, with their images, or with the error of reading them."""
    keys, waiting = list(patches), list[tuple[int, Images]]()
    for photograph, indices in read_photographs(run, list(patches.values())):
        if isinstance(photograph, ImageError):
            yield tuple(keys[index] for index in indices), photograph
            continue
        images = network.prepare(photograph).images
        waiting += [(keys[index], images) for index in indices]
        while len(waiting) >= BATCH:
            yield _stacked(waiting[:BATCH])
            del waiting[:BATCH]
    if waiting:
        yield _stacked(waiting)


def _stacked(waiting: Sequence[tuple[int, Images]]) -> tuple[tuple[int, ...], Images]:
    keys, images = zip(*waiting, strict=True)
    return keys, torch.cat(images)


@dataclasses.dataclass(frozen=True)
class _Projector:
    """The options that all projections of one call share, and their cache."""

    network: Network
    run: Run
    method: ProjectionMethod
    effective: bool

    def cached(self, patch: Patch) -> Backprojection | None:
        """The cached projection of a patch, if there is one."""
        arrays = self._cache.read(self._key(patch)) if self.network.sha256 else None
        return self.projection(patch, NeuronGradient(**arrays), Cost()) if arrays else None

    def store(self, patch: Patch, gradient: NeuronGradient, notify: Notify) -> Notify:
        """Write to the cache; warn at most once: the callback for the next patch is returned."""
        try:
            if self.network.sha256:
                self._cache.write(self._key(patch), gradient._asdict())
        except OutputError as error:
            notify(f"projections are not cached: {error}")
            return ignore
        return notify

    def projection(self, patch: Patch, gradient: NeuronGradient, cost: Cost) -> Backprojection:
        """The gradient as a projection, with its note."""
        values, scale = torch.zeros(3, *self.network.preprocess.size), gradient.scale.item()
        if math.isfinite(scale):
            within = inside(values, gradient.field.tolist())
            within.copy_(torch.from_numpy(gradient.values.astype(np.float32) * gradient.scale))
        field, box, effective = Box(*gradient.field.tolist()), patch.box, patch.whole or self.effective
        if effective:
            shown = Box(*(float(self.run.images[side][patch.image]) for side in Box._fields))
            field = Box(*gradient.effective.tolist())
            box = box_in_photograph(field, self.network.preprocess.size, shown)
        activation = gradient.activation.item()
        note = self._note(patch, activation, scale)
        return Backprojection(patch, values, field, box, self.method, activation, effective, cost, note)

    def unreadable(self, patch: Patch, error: ImageError) -> Backprojection:
        """The blank projection of a photograph that cannot be read."""
        size = self.network.preprocess.size
        field = Box(0, 0, *size)
        if not patch.whole:
            field = input_box(self.network, patch.layer, patch.row, patch.column)
        return Backprojection(patch, torch.zeros(3, *size), field, patch.box, self.method, math.nan, note=str(error))

    def _note(self, patch: Patch, activation: float, scale: float) -> str:
        name = f"{patch.layer}:{patch.channel}"
        if not math.isclose(activation, patch.activation, rel_tol=CLOSE, abs_tol=FLOOR):
            return (
                f"{name} in {self.run.source(patch.image)} is {activation:.5g} and was {patch.activation:.5g}: the "
                "network, the file or the decoder changed since the survey"
            )
        if not math.isfinite(scale):
            return f"{name} is blank where its gradient is not finite"
        if not scale:
            return f"{name} is blank where {'it is not active' if activation <= 0 else 'every ReLU below blocks it'}"
        return ""

    def _key(self, patch: Patch) -> str:
        image, place = str(self.run.images["sha256"][patch.image]), (patch.channel, patch.row, patch.column)
        model = self.network.sha256, repr(self.network.preprocess)
        return ArrayCache.key(*model, image, patch.layer, *place, self.method, VERSION)

    @property
    def _cache(self) -> ArrayCache:
        return ArrayCache(self.run.folder / CACHE)
