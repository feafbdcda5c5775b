"""The thing without its surroundings: what a map points at, or what a channel responds to, cut out of the picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from phosphene.attribution.attribution import upsample
from phosphene.attribution.localize.boxes import above, largest, saliency, tight
from phosphene.attribution.perturbation.engine import blurred
from phosphene.core.errors import ImageError, LayerError, OptionError
from phosphene.core.images import image
from phosphene.core.images.drawing import cutout as transparent
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Box, Images, Network
from phosphene.core.objectives.units import Channel

Method = Literal["grabcut", "threshold"]

ITERATIONS = 5  # of GrabCut
COLORS = 5  # Gaussians in each of GrabCut's two color models: neither can be fitted to fewer pixels


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Cutout:
    """A thing cut out of its picture.

    Args:
        mask: whether each pixel belongs to it, bool (H, W).
        rgba: the picture with all else transparent, uint8 (H, W, 4).
        note: why there is nothing; "" where there is something.
    """

    mask: Tensor
    rgba: Uint8Image = dataclasses.field(repr=False)
    note: str = ""

    @property
    def share(self) -> float:
        """Share of the pixels that belong to it, in [0, 1]."""
        return self.mask.float().mean().item()

    @property
    def box(self) -> Box | None:
        """The tight box around it, in pixels; None where there is nothing."""
        return tight(self.mask)

    def as_dict(self) -> dict[str, Any]:
        """A row of a table."""
        return {"share": self.share, "box": self.box and list(self.box), "note": self.note}

    def save(self, path: str | Path) -> Path:
        """Write the cut-out as PNG with transparency."""
        return image.save(path, self.rgba)


def cutout(
    picture: Images,
    values: Tensor,
    *,
    foreground: float = 0.95,
    background: float = 0.30,
    smooth: float = 4.0,
    method: Method = "grabcut",
) -> Cutout:
    """What a map points at, cut out along the edges of the picture.

    Pixels at or above one quantile of the saliency are surely of the thing, those at or below another surely not. They
    seed GrabCut, which learns the colors of both and labels the rest; the largest connected part stays. A second or so.

    Differs from the paper: the map is blurred first (smooth=0 does not), since seeds here are final and those of a
    grainy map would riddle the thing with holes; the rest starts on the side of the nearer quantile.

    Args:
        picture: (1, 3, H, W), RGB in [0, 1].
        values: the map, (1, 1 or 3, H, W).
        foreground: quantile of the saliency, in [0, 1].
        background: quantile of the saliency, in [0, 1], below that of the foreground.
        smooth: sigma of a Gaussian blur of the saliency, in pixels.
        method: grabcut, or threshold for the sure foreground alone.

    Raises:
        OptionError: quantiles in another order, or another method.
        ImageError: picture and map differ in size, or are too small.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR 2014 workshop, section 3.2; Rother et al., SIGGRAPH 2004.

    >>> spot = torch.zeros(1, 1, 32, 32)
    >>> spot[..., 8:16, 8:16] = 1
    >>> cutout(spot.expand(1, 3, 32, 32), spot, smooth=0).box
    Box(top=8, left=8, bottom=16, right=16)
    """
    if not 0 <= background < foreground <= 1 or method not in get_args(Method):
        raise OptionError(
            f"background={background:g}, foreground={foreground:g}, method={method!r}: "
            f"want 0 ≤ background < foreground ≤ 1 and one of {', '.join(get_args(Method))}"
        )
    if not len(picture) == len(values) == 1 or picture.shape[2:] != values.shape[2:]:
        raise ImageError(f"picture is {tuple(picture.shape)}, map {tuple(values.shape)}; give one of each, of one size")
    seen = saliency(values)[None].cpu().double()
    seen = (blurred(seen, smooth) if smooth and seen.min() < seen.max() else seen)[0, 0]
    low, high = (np.quantile(seen.numpy(), share) for share in (background, foreground))
    pixels, sure = image.levels(picture), (seen >= high) & (seen > low)
    if not sure.any():
        note = f"nothing to cut out: the map is {low:.3g} nearly everywhere"
        return Cutout(mask=sure, rgba=transparent(pixels, sure), note=note)
    if method == "grabcut":
        sure = _grabcut(pixels, sure=sure, surely_not=seen <= low, likely=seen > (low + high) / 2)
    mask = largest(sure)
    return Cutout(mask=mask, rgba=transparent(pixels, mask))


def _grabcut(pixels: Uint8Image, *, sure: Tensor, surely_not: Tensor, likely: Tensor) -> Tensor:
    labels = np.where(likely.numpy(), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8, order="C")
    labels[surely_not.numpy()], labels[sure.numpy()] = cv2.GC_BGD, cv2.GC_FGD
    inside = int((labels % 2).sum())  # the labels of the foreground are odd
    if min(inside, labels.size - inside) < COLORS:
        raise ImageError(f"{inside} of {labels.size} pixels cannot teach GrabCut both colors; take method='threshold'")
    cv2.setRNGSeed(0)  # its color models start from k-means, which draws its centers
    bgr, (inner, outer) = np.ascontiguousarray(pixels[..., ::-1]), np.zeros((2, 1, 13 * COLORS))
    cv2.grabCut(bgr, labels, (0, 0, 0, 0), inner, outer, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return torch.from_numpy(labels % 2 == 1)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Region(Cutout):
    """Where a channel responds to a picture, cut out of it.

    Args:
        unit: the channel.
        response: its activation, enlarged to the picture, (H, W).
        peak: its largest activation.
        places: share of the layer's own places that exceed the threshold, in [0, 1].
    """

    unit: Channel
    response: Tensor = dataclasses.field(repr=False)
    peak: float
    places: float

    def as_dict(self) -> dict[str, Any]:
        """A row of a table."""
        return {"unit": str(self.unit), "peak": self.peak, "places": self.places, **super().as_dict()}


def regions(
    network: Network, images: Images, layer: str, channel: int, *, threshold: float = 0.5
) -> tuple[Region, ...]:
    """Where a channel responds to each image: its map, enlarged bilinearly, above a share of its own maximum.

    All parts of the region stay; its box holds them all. Cost: one forward pass, up to the layer.

    Args:
        network: whose channel.
        images: (N, 3, H, W), RGB in [0, 1].
        layer: a layer with a map.
        channel: index of the channel.
        threshold: share of the channel's maximum over the image, in [0, 1).

    Raises:
        LayerError: no such layer, or one without a map.
        TargetError: no such channel.
        OptionError: a threshold outside [0, 1).

    Reference: Zhou et al., ICLR 2015, arXiv:1412.6856, section 3.2.

    >>> [region.mask.shape for region in regions(tiny, images, "features.5", 3)]
    [torch.Size([32, 32]), torch.Size([32, 32])]
    """
    unit = Channel(layer, channel)
    unit.bind(network)
    if not network.layer(layer).spatial:
        raise LayerError(f"{layer} of {network.name} has no map; choose an earlier layer")
    images = network.check(images)
    with torch.no_grad():
        maps = network.tap(images, [layer])[layer][:, channel, None]
    return tuple(_region(unit, picture, each[None], threshold) for picture, each in zip(images, maps, strict=True))


def _region(unit: Channel, picture: Tensor, activation: Tensor, threshold: float) -> Region:
    response, peak = upsample(activation, picture.shape[1:])[0, 0], activation.max().item()
    mask = above(response, threshold).cpu()
    return Region(
        mask=mask,
        rgba=transparent(image.levels(picture), mask),
        note="" if peak > 0 else f"{unit} does not respond to this image: its largest activation is {peak:.3g}",
        unit=unit,
        response=response,
        peak=peak,
        places=above(activation, threshold).float().mean().item(),
    )
