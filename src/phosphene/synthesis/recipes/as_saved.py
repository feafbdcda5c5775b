"""Images as they are after saving: rounded to 8 bits, at rest, at the size that the network takes."""

from __future__ import annotations

from torch import Tensor

from phosphene.core.images import image
from phosphene.core.networks.network import Images, Network, Prediction
from phosphene.core.objectives.objective import Objective


def as_saved(images: Images) -> Images:
    """Images rounded to 8 bits, as a PNG holds them."""
    return (images * 255).round() / 255


def as_read(images: Images, objective: Objective, network: Network) -> Images:
    """Images as saved, for a class resized to the size that the network takes, as photographs are.

    Args:
        images: (N, 3, H, W).
        objective: that will be read of them.
        network: that will be shown them.
    """
    size, saved = network.preprocess.size, as_saved(images)
    resized = "logits" in objective.reads and tuple(images.shape[2:]) != size
    return image.resize(saved, size) if resized else saved


def recognize(network: Network, logits: Tensor) -> tuple[tuple[Prediction, ...], ...]:
    """The classes of images, best first; of logits with places the greatest anywhere.

    Args:
        network: whose classes.
        logits: (N, K), or (N, K, H, W).
    """
    return network.top_classes(logits.flatten(2).amax(2) if logits.ndim > 2 else logits)
