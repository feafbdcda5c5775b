"""The layers that are inverted, and their activations of the original."""

from __future__ import annotations

from collections.abc import Sequence

from phosphene.core.errors import ImageError, LayerError
from phosphene.core.images.preprocess import luma
from phosphene.core.inputs import Pictures, prepare_inputs
from phosphene.core.networks.anatomy import stages
from phosphene.core.networks.layer_patterns import match_layers
from phosphene.core.networks.network import Images, Network
from phosphene.synthesis.loop.recipe import image_size
from phosphene.synthesis.losses.feature_match import Match


def network_view(network: Network, picture: Pictures, *, size: tuple[int, int] | None = None) -> Images:
    """One picture as the network sees it, (1, 3, H, W): grey where it sees no colors.

    Args:
        network: that sees it.
        picture: a photograph, or one image (1, 3, H, W), which keeps its size.
        size: height and width of the photograph's crop; what the network takes by default.

    Raises:
        ImageError: not one image.
    """
    images = prepare_inputs(network, picture, size=size).images.float()
    if len(images) != 1 or size not in {None, image_size(images)}:
        raise ImageError(f"images are {tuple(images.shape)}; invert wants one, at its own size. Call it for each")
    return luma(images).expand_as(images) if network.preprocess.order == "grey" else images


def inverted_layers(network: Network, names: Sequence[str]) -> tuple[str, ...]:
    """The layers that names and patterns mean.

    Args:
        network: whose layers.
        names: in any order, which is kept; patterns give those of the pass; none, or "all", the stages of the network.

    Raises:
        LayerError: no such layer, or none that matches.
    """
    if not names or tuple(names) == ("all",):
        return stages(network)
    layers: list[str] = []
    for name in names:
        if set(name) & set("*?"):
            layers += match_layers(network, [name])
        else:
            network.shape(name)
            layers.append(name)
    return tuple(dict.fromkeys(layers))


def layer_matches(network: Network, original: Images, layers: Sequence[str]) -> tuple[list[Match], list[str]]:
    """A match for each layer that is not zero everywhere on a picture, and a note on each of the others.

    Args:
        network: whose layers.
        original: (1, 3, H, W).
        layers: their names.

    Raises:
        LayerError: the only layer, or all of them, have nothing to match.
    """
    matches, notes = [], []
    for layer in layers:
        try:
            matches.append(Match.of(network, original, layer))
        except LayerError as error:
            if len(layers) == 1:
                raise
            notes.append(f"{layer} is left out: {error}")
    if not matches:
        raise LayerError(notes[0])
    return matches, notes
