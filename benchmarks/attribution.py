"""Attribution side by side with the peers: python benchmarks/attribution.py [NETWORK …] [--repeats 15].

In one process, in turn, on one image of 224 × 224 and one class; each table's first line is what the others are
compared with. Peers get the normalized batch, phosphene the pixels. Occlusion has a file of its own.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import captum.attr
import pytorch_grad_cam
import torch
import torchcam.methods
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from interleave import compare
from occlusion import NETWORKS, build
from phosphene.attribution.cams.cam import GradCAM, GuidedGradCAM
from phosphene.attribution.gradients.backprop import Gradient, GuidedBackprop
from phosphene.core.images.image import load
from phosphene.core.networks.anatomy import last_spatial_layer
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit
from phosphene.studies.explain import explain, explanation_cost
from phosphene.zoo.samples import sample

CLASS = 282


def gradients(network: Network, image: Tensor, batch: Tensor) -> dict[str, Callable[[], object]]:
    module, target = network.module, Logit(CLASS)

    def bare() -> Tensor:
        leaf = batch.clone().requires_grad_()
        return torch.autograd.grad(module(leaf)[0, CLASS], leaf)[0]

    return {
        "bare frozen F + grad": bare,
        "phosphene gradient": lambda: Gradient()(network, image, target),
        "captum Saliency": lambda: captum.attr.Saliency(module).attribute(batch.clone(), target=CLASS),
        "phosphene guided": lambda: GuidedBackprop()(network, image, target),
        "captum GuidedBackprop": lambda: captum.attr.GuidedBackprop(module).attribute(batch.clone(), target=CLASS),
    }


def grad_cams(network: Network, image: Tensor, batch: Tensor) -> dict[str, Callable[[], object]]:
    module, name = network.module, last_spatial_layer(network, Logit(CLASS))[0]
    layer = module.get_submodule(name)

    def forward() -> Tensor:
        with torch.no_grad():
            return module(batch)

    def theirs() -> object:
        method = captum.attr.LayerGradCam(module, layer)
        map = method.attribute(batch.clone(), target=CLASS, relu_attributions=True)
        return captum.attr.LayerAttribution.interpolate(map, (224, 224), "bilinear")

    def jacobs() -> object:
        with pytorch_grad_cam.GradCAM(module, [layer]) as cam:
            return cam(batch.clone().requires_grad_(), [ClassifierOutputTarget(CLASS)])

    def torchs() -> object:
        with torchcam.methods.GradCAM(module, name) as cam:
            leaf = batch.clone().requires_grad_()
            return cam(CLASS, module(leaf))

    return {
        "bare forward": forward,
        "phosphene Grad-CAM": lambda: GradCAM()(network, image, Logit(CLASS)),
        "captum LayerGradCam": theirs,
        "pytorch-grad-cam": jacobs,
        "torchcam": torchs,
    }


def guided_grad_cams(network: Network, image: Tensor, batch: Tensor) -> dict[str, Callable[[], object]]:
    module, layer = network.module, network.module.get_submodule(last_spatial_layer(network, Logit(CLASS))[0])
    return {
        "captum GuidedGradCam": lambda: captum.attr.GuidedGradCam(module, layer).attribute(batch.clone(), target=CLASS),
        "phosphene guided Grad-CAM": lambda: GuidedGradCAM()(network, image, Logit(CLASS)),
    }


def whole(network: Network, image: Tensor) -> dict[str, Callable[[], object]]:
    """The default maps of `explain`, without scores, against the passes that they need."""
    picture = load(sample("cat"))
    cost, target = explanation_cost(network, scores=False), Logit(CLASS)

    def passes() -> None:
        backwards = cost.backwards
        batch = network.preprocess.normalize(image)
        for _ in range(backwards):
            leaf = batch.clone().requires_grad_()
            torch.autograd.grad(network.module(leaf)[0, CLASS], leaf)
        with torch.no_grad():
            for _ in range(max(0, cost.forwards - backwards)):
                network.module(batch)

    print(f"explain: {cost}")
    return {
        "the passes, one by one": passes,
        "phosphene explain": lambda: explain(network, picture, target, scores=False),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--explain", action="store_true", help="the main job too, on the embedded network")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.networks:
        network = build(name)
        network.module.requires_grad_(False)
        for module in network.module.modules():
            if isinstance(module, nn.ReLU | nn.ReLU6):
                module.inplace = False  # captum and torchcam go wrong on in-place ReLU
        image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        batch = network.preprocess.normalize(image)
        for table in (gradients, grad_cams, guided_grad_cams):
            print(f"\n{name}: {table.__name__.replace('_', ' ')}")
            print(compare(table(network, image, batch), options.repeats))
        if options.explain and name == "lite0":
            print(compare(whole(network, image), 3))


if __name__ == "__main__":
    main()
