"""Cut-outs: the object that a map points at, or the region where a channel is active, without its surroundings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from phosphene.attribution.attribution import upsample
from phosphene.attribution.localize.boxes import bounding_box, exceeding, largest_component, saliency
from phosphene.core.errors import ImageError, LayerError, OptionError
from phosphene.core.images import image
from phosphene.core.images.drawing import transparent_outside as transparent
from phosphene.core.images.image import Uint8Image, blurred
from phosphene.core.networks.network import Box, Images, Network
from phosphene.core.objectives.units import Channel
from phosphene.core.result import Cost, File, Result

Segmentation = Literal["grabcut", "threshold"]

ITERATIONS = 5  # of GrabCut
COLORS = 5  # Gaussians in each of GrabCut's two color models: neither can be fitted to fewer pixels


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Cutout(Result):
    """An object cut out of its picture.

    Args:
        mask: whether each pixel belongs to the object, bool (H, W).
        rgba: the picture with all else transparent, uint8 (H, W, 4).
    """

    verb: str = "cutout"

    mask: Tensor = dataclasses.field(repr=False)
    rgba: Uint8Image = dataclasses.field(repr=False)

    @property
    def share(self) -> float:
        """Share of the pixels that belong to the object, in [0, 1]."""
        return self.mask.float().mean().item()

    @property
    def box(self) -> Box | None:
        """Its bounding box, in pixels; None where the mask is empty."""
        return bounding_box(self.mask)

    def files(self) -> Iterator[File]:
        """The cut-out as PNG with transparency."""
        yield File.picture(f"{self.verb}.png", self.rgba)

    def facts(self) -> Mapping[str, Any]:
        """Share and box."""
        return {"share": self.share, "box": self.box and list(self.box)}

    def pictures(self) -> list[Uint8Image]:
        """The cut-out, with transparency."""
        return [self.rgba]

    def lines(self) -> tuple[str, ...]:
        """Share and box."""
        return (f"{self.share:.1%} of the pixels, in {self.box}",)


def cutout(
    picture: Images,
    values: Tensor,
    *,
    foreground: float = 0.95,
    background: float = 0.30,
    smooth: float = 4.0,
    method: Segmentation = "grabcut",
) -> Cutout:
    """The object that a map points at, cut out along the edges of the picture.

    Pixels at or above one quantile of the saliency are labeled foreground, those at or below another background. From
    these seeds GrabCut learns the colors of both and labels the rest; the largest connected component is returned.
    Takes about a second.

    Differs from the paper: the map is blurred first (not with smooth=0), since seeds here are final and those of a
    noisy map would leave holes in the object; the other pixels start with the label of the nearer quantile.

    Args:
        picture: (1, 3, H, W), RGB in [0, 1].
        values: the map, (1, 1 or 3, H, W).
        foreground: quantile of the saliency, in [0, 1].
        background: quantile of the saliency, in [0, 1], below that of the foreground.
        smooth: sigma of a Gaussian blur of the saliency, in pixels.
        method: grabcut, or threshold for the foreground seeds alone.

    Raises:
        OptionError: quantiles in another order, or another method.
        ImageError: picture and map differ in size, or are too small.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR 2014 workshop, section 3.2; Rother et al., SIGGRAPH 2004.

    >>> spot = torch.zeros(1, 1, 32, 32)
    >>> spot[..., 8:16, 8:16] = 1
    >>> cutout(spot.expand(1, 3, 32, 32), spot, smooth=0).box
    Box(top=8, left=8, bottom=16, right=16)
    """
    if not 0 <= background < foreground <= 1 or method not in get_args(Segmentation):
        raise OptionError(
            f"background={background:g}, foreground={foreground:g}, method={method!r}: "
            f"want 0 ≤ background < foreground ≤ 1 and one of {', '.join(get_args(Segmentation))}"
        )
    if not len(picture) == len(values) == 1 or picture.shape[2:] != values.shape[2:]:
        raise ImageError(f"picture is {tuple(picture.shape)}, map {tuple(values.shape)}; give one of each, of one size")
    strength = saliency(values)[None].cpu().double()
    strength = (blurred(strength, smooth) if smooth and strength.min() < strength.max() else strength)[0, 0]
    low, high = (np.quantile(strength.numpy(), share) for share in (background, foreground))
    pixels, seeds = image.levels(picture), (strength >= high) & (strength > low)
    if not seeds.any():
        note = f"nothing to cut out: the map is {low:.3g} nearly everywhere"
        return Cutout(mask=seeds, rgba=transparent(pixels, seeds), notes=(note,))
    if method == "grabcut":
        seeds = _grabcut(pixels, foreground=seeds, background=strength <= low, likely=strength > (low + high) / 2)
    mask = largest_component(seeds)
    return Cutout(mask=mask, rgba=transparent(pixels, mask))


def _grabcut(pixels: Uint8Image, *, foreground: Tensor, background: Tensor, likely: Tensor) -> Tensor:
    labels = np.where(likely.numpy(), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8, order="C")
    labels[background.numpy()], labels[foreground.numpy()] = cv2.GC_BGD, cv2.GC_FGD
    inside = int((labels % 2).sum())  # the labels of the foreground are odd
    if min(inside, labels.size - inside) < COLORS:
        raise ImageError(
            f"{inside} of {labels.size} pixels are too few for GrabCut to learn both colors; take method='threshold'"
        )
    cv2.setRNGSeed(0)  # its color models start from k-means, which draws its centers
    bgr, (inner, outer) = np.ascontiguousarray(pixels[..., ::-1]), np.zeros((2, 1, 13 * COLORS))
    cv2.grabCut(bgr, labels, (0, 0, 0, 0), inner, outer, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return torch.from_numpy(labels % 2 == 1)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Region(Cutout):
    """The region of a picture in which a channel is active, cut out of it.

    Args:
        unit: the channel.
        response: its activation, upsampled to the picture, (H, W).
        peak: its largest activation.
        positions: share of the positions of the layer that exceed the threshold, in [0, 1].
    """

    verb: str = "region"

    unit: Channel
    response: Tensor = dataclasses.field(repr=False)
    peak: float
    positions: float

    @property
    def target(self) -> Channel:
        """The channel."""
        return self.unit

    def facts(self) -> Mapping[str, Any]:
        """The channel, its largest activation, share and box."""
        return {"unit": str(self.unit), "peak": self.peak, "positions": self.positions, **super().facts()}


def regions(
    network: Network, images: Images, layer: str, channel: int, *, threshold: float = 0.5
) -> tuple[Region, ...]:
    """The region of each image in which a channel is active: its map, upsampled, above a share of its own maximum.

    The region may have several components; its box contains them all. Cost: one forward pass, up to the layer.

    Args:
        network: whose channel.
        images: (N, 3, H, W), RGB in [0, 1].
        layer: a spatial layer.
        channel: index of the channel.
        threshold: share of the channel's maximum over the image, in [0, 1).

    Raises:
        LayerError: no such layer, or one that is not spatial.
        TargetError: no such channel.
        OptionError: a threshold outside [0, 1).

    Reference: Zhou et al., ICLR 2015, arXiv:1412.6856, section 3.2.

    >>> [region.mask.shape for region in regions(tiny, images, "features.5", 3)]
    [torch.Size([32, 32]), torch.Size([32, 32])]
    """
    unit = Channel(layer, channel)
    unit.bind(network)
    if not network.layer(layer).spatial:
        raise LayerError(f"{layer} of {network.name} is not spatial; choose an earlier layer")
    images = network.check(images)
    with torch.no_grad():
        maps = network.tap(images, [layer])[layer][:, channel, None]
    pairs = zip(images, maps[:, None], strict=True)
    return tuple(_region(network, unit, picture, activation, threshold) for picture, activation in pairs)


def _region(network: Network, unit: Channel, picture: Tensor, activation: Tensor, threshold: float) -> Region:  # noqa: PLR0917
    response, peak = upsample(activation, picture.shape[1:])[0, 0], activation.max().item()
    mask = exceeding(response, threshold).cpu()
    quiet = f"{unit} is not active in this image: its largest activation is {peak:.3g}"
    return Region(
        network=network,
        options={"threshold": threshold},
        mask=mask,
        rgba=transparent(image.levels(picture), mask),
        unit=unit,
        response=response,
        peak=peak,
        positions=exceeding(activation, threshold).float().mean().item(),
        cost=Cost(forwards=1),
        notes=() if peak > 0 else (quiet,),
    )
