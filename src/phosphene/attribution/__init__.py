"""Which pixels does a target depend on? Each method is one class in one file.

`attribute` runs one method, `attribute_all` several from one forward pass.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import time
from collections.abc import Sequence

from phosphene.attribution.attribution import Attribution as Attribution
from phosphene.attribution.attribution import MethodLike as MethodLike
from phosphene.attribution.heatmap import Heatmap as Heatmap
from phosphene.attribution.heatmap import attribute_all as attribute_all
from phosphene.core.inputs import Pictures, Target, bind_target, prepare_inputs
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost

# A file in this folder is a method: importing it registers it.
for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def attribute(
    network: Network,
    pictures: Pictures,
    target: Target | Sequence[Target] = "top",
    *,
    method: MethodLike = "grad-cam",
) -> Heatmap:
    """Which pixels a target depends on, by one method.

    Args:
        network: that is explained.
        pictures: one or several: paths, Pictures, Pillow images or arrays, which are resized and cropped to the input
            size of the network, or tensors (3, H, W) or (N, 3, H, W), RGB in [0, 1], which are not.
        target: a label, an index, "top", a text such as "tabby - tiger cat" or "blocks.4:17@7,7", or an objective; or
            as many of these as pictures.
        method: a registered name, a class, or a method with its options.

    Returns:
        raw, signed values (N, 1 or 3, H, W), and where they came from; its cost counts all passes.

    Raises:
        OptionError: no method of that name.
        TargetError: no such target.
        LayerError: the method cannot work on this network.
        ImageError: a file that is no picture, images of another shape, or outside [0, 1].

    >>> attribute(tiny, images, "tabby - tiger cat", method="grad-cam").values.shape
    torch.Size([2, 1, 32, 32])
    """
    start, inputs = time.perf_counter(), prepare_inputs(network, pictures)
    bound = bind_target(network, target, inputs.images)
    (heatmap,) = attribute_all(network, inputs.images, [bound], [method])
    passes, predictions = len(inputs.images) * (1 + (isinstance(target, str) and target == "top")), heatmap.predictions
    if inputs.photographs and not predictions:  # the target does not read the logits
        passes, predictions = passes + 1, network.predict(inputs.images[:1])[0]
    cost = (heatmap.cost + Cost(forwards=passes)).since(start)
    return dataclasses.replace(heatmap, inputs=inputs.photographs, cost=cost, predictions=predictions)
