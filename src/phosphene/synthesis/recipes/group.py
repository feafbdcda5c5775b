"""A group: pictures of targets of one kind, which are made with the same settings in one batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from phosphene.core.errors import ImageError, LayerError, OptionError
from phosphene.core.images.image import resize
from phosphene.core.networks.anatomy import deepest_spatial_layer_read
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.loop.recipe import Stage
from phosphene.synthesis.losses.batchnorm_prior import BatchNormStatistics, running_statistics
from phosphene.synthesis.losses.diversity import Diverse
from phosphene.synthesis.settings.adjustments import Adjustments, adjustments
from phosphene.synthesis.settings.preset import Preset
from phosphene.synthesis.settings.probe import NetworkProbe
from phosphene.synthesis.settings.window import Window, has_neuron, terms
from phosphene.synthesis.transforms.transforms import Crops, Transform


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Group:
    """Pictures of targets of one kind.

    Args:
        network: whose units.
        targets: (T,), bound, of one kind.
        places: (T * count,), of their pictures among those of all groups.
        asked: the preset as the user chose it.
        count: pictures of each target; the N pictures are those of the first target, then those of the next.
        starts: (count, 3, H, W), images to begin from.
        size: height and width of the pictures, where the user gave them.
        scale: factor of both sides.
        probe: of the targets.
        windows: (T,) smaller canvases, where the targets have some.
    """

    network: Network
    targets: tuple[Objective, ...]
    places: tuple[int, ...]
    asked: Preset
    count: int
    starts: Images | None
    size: tuple[int, int] | None
    scale: float
    probe: NetworkProbe
    windows: tuple[Window, ...] | None

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """(N,), the targets on the canvas, which may be a window."""
        return self._repeated(self._on_canvas)

    @cached_property
    def optimized(self) -> tuple[Objective, ...]:
        """(N,), what is optimized: adjusted targets, diverse where there are several pictures, with priors."""
        optimized = []
        rows = zip(self.targets, self._on_canvas, self.probe.targets, strict=True)
        for place, (target, on_canvas, measured) in enumerate(rows):
            objective, weight = self._adjustments.objective(on_canvas, place), self._adjustments.weights[place]
            if self._diverse:
                objective = Diverse(objective, self._layer(objective))
            if (prior := self.preset.prior(measured.share)) is not None:
                objective = objective + weight * self._area * prior
            if self._bn_prior is not None and "logits" in target.reads:
                objective = objective - weight * self._bn_prior
            optimized.append(objective)
        return self._repeated(optimized)

    @cached_property
    def preset(self) -> Preset:
        """The preset, adjusted to the network and the targets."""
        return self._adjustments.preset.diverse() if self._diverse else self._adjustments.preset

    @property
    def name(self) -> str:
        """Its targets."""
        return ", ".join(map(str, self.targets))

    @property
    def canvas_size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        whole = self.windows[0].size if self.windows else self.size or self.network.preprocess.size
        return self._scaled(whole)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen, and why."""
        window = ["made on {} × {}: the targets depend on no more".format(*self.canvas_size)] if self.windows else []
        start = ["pictures that are to differ begin with noise"] if self.preset != self._adjustments.preset else []
        return (*self._adjustments.notes, *window, *start)

    def stage(self, name: str = "", preview: Callable[[Images, Tensor], tuple[Images, Tensor]] | None = None) -> Stage:
        """The stage that makes the pictures.

        Args:
            name: of the stage.
            preview: see `Stage`.
        """
        parts = self.preset.parts(shift=self._shift, view=self._view)
        start = None if self.starts is None else resize(self.starts, self.canvas_size, "bilinear")
        return Stage(
            objective=self.optimized,
            canvas=parts.canvas,
            steps=self.preset.steps,
            size=self.canvas_size,
            start=None if start is None else start.repeat(len(self.targets), 1, 1, 1),
            transforms=parts.transforms,
            pixel_regularizers=parts.pixel_regularizers,
            optimizer=parts.optimizer,
            redirect_steps=self._adjustments.redirect_steps,
            patience=self.preset.patience,
            batch=self._batch(parts.transforms),
            name=name,
            preview=preview,
        )

    def shrinks_to(self, scale: float) -> bool:
        """Whether its pictures may be made, and the network takes them, at another scale. Cost: one truncated pass."""
        if self.size is not None or has_neuron(self.targets):
            return False
        smaller = dataclasses.replace(self, scale=scale)
        blank = self.network.check(torch.full((1, 3, *smaller.canvas_size), 0.5))
        try:
            with torch.no_grad():
                self.network.tap(blank, smaller.stage().reads)
        except (ImageError, LayerError):
            return False  # the network takes one size alone
        return True

    @cached_property
    def _adjustments(self) -> Adjustments:
        return adjustments(self.probe, self.asked, self._scaled(self.size or self.network.preprocess.size))

    @cached_property
    def _bn_prior(self) -> Objective | None:
        """The batch-norm prior with its weight; None where it is off, or running statistics are all zero."""
        weight = self.preset.bn_weight
        if not weight or not any(statistics.mean.any() for statistics in running_statistics(self.network)):
            return None
        return weight * BatchNormStatistics().bind(self.network)

    @property
    def _on_canvas(self) -> Sequence[Objective]:
        return [window.objective for window in self.windows] if self.windows else self.targets

    @property
    def _area(self) -> float:
        """Of a neuron: area of the canvas as a share of the whole, as priors are means over all pixels."""
        whole = math.prod(self.network.preprocess.size)
        return math.prod(self.canvas_size) / whole if has_neuron(self.targets) else 1.0

    @property
    def _diverse(self) -> bool:
        """Whether the pictures of a target are pushed apart."""
        return self.starts is None and self.count > 1

    @property
    def _shift(self) -> float | None:
        """Pixels by which a neuron's picture is moved: fewer for small networks; None for other targets."""
        side = min(self.network.preprocess.size)
        return min(_SHIFT, side / _SHIFTS) if has_neuron(self.targets) else None

    @property
    def _view(self) -> tuple[int, int] | None:
        """Size at which the network sees crops of a large canvas of a class: that which it takes."""
        taken = self.network.preprocess.size
        large = all(own >= side for own, side in zip(self.canvas_size, taken, strict=True))
        return taken if large and all("logits" in target.reads for target in self.targets) else None

    def _layer(self, objective: Objective) -> str:
        """The layer whose features differ between pictures of one target."""
        layer = deepest_spatial_layer_read(self.network, objective)
        if layer is None:
            raise OptionError(f"{self.network.name} has no maps, so its pictures cannot be pushed apart; make one only")
        return layer

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        return round(size[0] * self.scale), round(size[1] * self.scale)

    def _repeated(self, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
        return tuple(objective for objective in objectives for _ in range(self.count))

    def _batch(self, transforms: Sequence[Transform]) -> int:
        """Views in a pass, which bounds the memory; those of diverse pictures of a target stay together."""
        views = math.prod(transform.count for transform in transforms if isinstance(transform, Crops))
        diverse = any(isinstance(term, Diverse) for objective in self.optimized for term in terms(objective))
        together = self.count * views if diverse else 1
        return max(1, _VIEWS // together) * together


_VIEWS = 16  # images in a pass
_SHIFT, _SHIFTS = 4.0, 28  # pixels at most; share of the side, as its inverse
