"""Does an activation need the pixels that its deconvnet projection shows? Cover them, and cover as many elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from phosphene.attribution import attribute
from phosphene.attribution.evaluate.covering import Covering, covering
from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.inputs import bind_target
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Cost, File, Result
from phosphene.studies.study import Study


@dataclasses.dataclass(frozen=True, eq=False)
class CheckedProjection:
    """The projection of one picture, and how far its target falls when the pixels that it shows are covered.

    Args:
        picture: the photograph.
        pixels: what the network saw of it, uint8 (H, W, 3).
        values: the projection, (3, H, W), signed.
        covering: the falls of the target.
    """

    picture: Picture
    pixels: Uint8Image
    values: Tensor
    covering: Covering

    def sheet(self) -> Uint8Image:
        """The picture, and its projection around mid-grey."""
        return drawing.grid([self.pixels, drawing.signed(self.values)[0]], 2, gap=4)

    @property
    def line(self) -> str:
        """The falls of the target in one sentence."""
        covered = self.covering
        before, fall, control = (values.mean().item() for values in (covered.before, covered.fall, covered.control))
        return (
            f"{self.picture.name}: {covered.targets[0]} is {before:.3g} {covered.unit}, falls by {fall:.3g} where the "
            f"projection is covered and by {control:.3g} elsewhere; it beats {covered.beats[0].item():.0%} of "
            f"{covered.control.shape[1]} shifted covers"
        )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DeconvnetChecks(Result):
    """The checks of several pictures.

    Args:
        target: what was projected, as it was given.
        checks: one for each picture.
    """

    verb: str = "study"

    target: str
    checks: tuple[CheckedProjection, ...]

    def files(self) -> Iterator[File]:
        """A sheet and the raw projection of each picture."""
        used: set[str] = set()
        for check in self.checks:
            stem = files.unused(files.slug(check.picture.name or "picture"), used)
            about: dict[str, Any] = {"target": check.covering.targets[0]}
            yield File.picture(f"{stem}.png", check.sheet(), **about)
            yield File.array(f"{stem}.npy", check.values.cpu().float().numpy(), **about)

    def facts(self) -> Mapping[str, Any]:
        """The falls, picture by picture."""
        return {"results": [{"input": check.picture.name, **check.covering.as_dict()} for check in self.checks]}

    def pictures(self) -> Sequence[Uint8Image]:
        """The sheets."""
        return tuple(check.sheet() for check in self.checks)

    def lines(self) -> tuple[str, ...]:
        """The falls of the target in each picture."""
        return tuple(check.line for check in self.checks)


@dataclasses.dataclass(frozen=True)
class DeconvnetCheck(Study, name="deconvnet-check"):
    """Whether a target needs the pixels that its projection shows.

    The pixels where the projection is strongest are covered by a blur; as controls, as many pixels elsewhere are. The
    target must fall further under the cover than under the controls. Cost: see `covering`, and one forward and one
    backward pass for each picture.

    Args:
        target: what is projected, such as "blocks.4:17@max"; the best class by default.
        method: that projects.
        share: of the pixels to cover at most, in (0, 1).
        controls: how many shifted covers.

    Raises:
        RuleError: the method needs ReLUs, and there are none below the target.
        OptionError: no picture, no controls, or a share that covers nothing or everything.

    Reference: Zeiler & Fergus, ECCV 2014, section 4.2, applied to the projection itself.

    >>> checks = DeconvnetCheck(controls=3).study(tiny, [ph.Picture.from_array(images[0], "noise")])
    >>> checks.checks[0].covering.control.shape
    torch.Size([1, 3])
    """

    target: str = "top"
    method: Literal["deconvnet", "guided-backprop", "gradient"] = "deconvnet"
    share: float = 0.05
    controls: int = 10

    def study(
        self, network: Network, pictures: Sequence[Picture], *, seed: int = 0, watch: Watch | None = None
    ) -> DeconvnetChecks:
        if not pictures:
            raise OptionError("no picture to check; give at least one")
        checks, cost, notes = list[CheckedProjection](), Cost(), tuple[str, ...]()
        for done, picture in enumerate(pictures):
            if watch is not None and watch(Progress(done, len(pictures), picture.name)):
                notes = (f"stopped after {done} of {len(pictures)} pictures",)
                break
            images = network.prepare(picture).images
            target = bind_target(network, self.target, images)
            heatmap = attribute(network, images, target, method=self.method)
            covered = covering(
                network, images, heatmap.values, target, share=self.share, controls=self.controls, seed=seed
            )
            cost += heatmap.cost + covered.cost
            checks.append(CheckedProjection(picture, image.levels(images), heatmap.values[0], covered))
        return DeconvnetChecks(
            network=network,
            inputs=tuple(pictures),
            target=self.target,
            checks=tuple(checks),
            options={"study": self.name, **{name: value for name, value in self.manifest().items() if name != "name"}},
            seed=seed,
            cost=cost,
            notes=notes,
        )
