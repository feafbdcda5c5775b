"""See what a vision network sees, and make images from it.

>>> import phosphene as ph
>>> "attribute" in ph.__all__
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phosphene.attribution import Attribution as Attribution
    from phosphene.attribution import attribute as attribute
    from phosphene.attribution.cams.cam import CAM as CAM
    from phosphene.attribution.cams.cam import GradCAM as GradCAM
    from phosphene.attribution.cams.cam import GradCAMPlusPlus as GradCAMPlusPlus
    from phosphene.attribution.cams.cam import GuidedGradCAM as GuidedGradCAM
    from phosphene.attribution.cams.cam import LayerCAM as LayerCAM
    from phosphene.attribution.cams.score_cam import ScoreCAM as ScoreCAM
    from phosphene.attribution.gradients.average import IntegratedGradients as IntegratedGradients
    from phosphene.attribution.gradients.average import SmoothGrad as SmoothGrad
    from phosphene.attribution.gradients.backprop import Deconvnet as Deconvnet
    from phosphene.attribution.gradients.backprop import Gradient as Gradient
    from phosphene.attribution.gradients.backprop import GuidedBackprop as GuidedBackprop
    from phosphene.attribution.gradients.backprop import InputXGradient as InputXGradient
    from phosphene.attribution.gradients.backprop import SuperposedDeconvnet as SuperposedDeconvnet
    from phosphene.attribution.heatmap import attribute_all as attribute_all
    from phosphene.attribution.perturbation.occlusion import Occlusion as Occlusion
    from phosphene.attribution.perturbation.occlusion import OcclusionClass as OcclusionClass
    from phosphene.attribution.perturbation.rise import RISE as RISE
    from phosphene.core.errors import PhospheneError as PhospheneError
    from phosphene.core.images.image import Picture as Picture
    from phosphene.core.images.image import load as _load
    from phosphene.core.networks.network import Network as Network
    from phosphene.core.networks.network import Preprocess as Preprocess
    from phosphene.core.objectives.classes import Logit as Logit
    from phosphene.core.objectives.classes import Probability as Probability
    from phosphene.core.objectives.grammar import parse as parse
    from phosphene.core.objectives.objective import Objective as Objective
    from phosphene.core.objectives.units import Channel as Channel
    from phosphene.core.objectives.units import ChannelMax as ChannelMax
    from phosphene.core.objectives.units import Neuron as Neuron
    from phosphene.core.result import Result as Result
    from phosphene.report import report as report
    from phosphene.studies.class_units import class_units as class_units
    from phosphene.studies.evaluate import evaluate as evaluate
    from phosphene.studies.examine import examine as examine
    from phosphene.studies.explain import explain as explain
    from phosphene.studies.plate import plate as plate
    from phosphene.studies.study import Study as Study
    from phosphene.studies.unit_evidence import unit as unit
    from phosphene.survey import survey as survey
    from phosphene.survey.accumulators.accumulator import Accumulator as Accumulator
    from phosphene.survey.accumulators.embedding import Embeddings as Embeddings
    from phosphene.survey.accumulators.moments import DeadUnits as DeadUnits
    from phosphene.survey.accumulators.top import TopPatches as TopPatches
    from phosphene.survey.maps.map_images import embedding_map as embedding_map
    from phosphene.survey.maps.neighbors import neighbors as neighbors
    from phosphene.survey.store.run import Run as Run
    from phosphene.synthesis.canvas.canvas import Fourier as Fourier
    from phosphene.synthesis.canvas.canvas import Perturbation as Perturbation
    from phosphene.synthesis.canvas.canvas import Pixels as Pixels
    from phosphene.synthesis.canvas.maco import MACO as MACO
    from phosphene.synthesis.canvas.pyramid import Pyramid as Pyramid
    from phosphene.synthesis.loop.loop import synthesize as synthesize
    from phosphene.synthesis.loop.optimizers import LBFGS as LBFGS
    from phosphene.synthesis.loop.optimizers import Adam as Adam
    from phosphene.synthesis.loop.optimizers import Ascent as Ascent
    from phosphene.synthesis.loop.recipe import Recipe as Recipe
    from phosphene.synthesis.loop.recipe import Stage as Stage
    from phosphene.synthesis.loop.run import run as run
    from phosphene.synthesis.losses.batchnorm_prior import BatchNormStatistics as BatchNormStatistics
    from phosphene.synthesis.losses.feature_match import Match as Match
    from phosphene.synthesis.losses.gram import Gram as Gram
    from phosphene.synthesis.losses.priors import L2 as L2
    from phosphene.synthesis.losses.priors import TotalVariation as TotalVariation
    from phosphene.synthesis.recipes.ablation import ablate as ablate
    from phosphene.synthesis.recipes.dream import Dream as Dream
    from phosphene.synthesis.recipes.dream import dream as dream
    from phosphene.synthesis.recipes.invert import Invert as Invert
    from phosphene.synthesis.recipes.invert import invert as invert
    from phosphene.synthesis.recipes.visualize import Visualize as Visualize
    from phosphene.synthesis.recipes.visualize import visualize as visualize
    from phosphene.synthesis.recipes.zoom import Zoom as Zoom
    from phosphene.synthesis.recipes.zoom import zoom as zoom
    from phosphene.synthesis.settings.preset import Best as Best
    from phosphene.synthesis.settings.preset import Lecture as Lecture
    from phosphene.synthesis.transforms.pixel_regularizers import Blur as Blur
    from phosphene.synthesis.transforms.pixel_regularizers import ClipContribution as ClipContribution
    from phosphene.synthesis.transforms.pixel_regularizers import ClipNorm as ClipNorm
    from phosphene.synthesis.transforms.pixel_regularizers import Decay as Decay
    from phosphene.synthesis.transforms.transforms import Affine as Affine
    from phosphene.synthesis.transforms.transforms import Crops as Crops
    from phosphene.weights.activations import activations as activations
    from phosphene.weights.filters import filters as filters
    from phosphene.zoo import load as load
    from phosphene.zoo.samples import sample as sample

    image = _load

# Where each public name is; looked up on first use, so that the command line answers before torch is imported.
_HOMES = {
    "attribution": ("Attribution", "attribute", "attribute_all"),
    "attribution.gradients.average": ("IntegratedGradients", "SmoothGrad"),
    "attribution.gradients.backprop": (
        "Deconvnet",
        "Gradient",
        "GuidedBackprop",
        "InputXGradient",
        "SuperposedDeconvnet",
    ),
    "attribution.cams.cam": ("CAM", "GradCAM", "GradCAMPlusPlus", "GuidedGradCAM", "LayerCAM"),
    "attribution.perturbation.occlusion": ("Occlusion", "OcclusionClass"),
    "attribution.perturbation.rise": ("RISE",),
    "attribution.cams.score_cam": ("ScoreCAM",),
    "core.errors": ("PhospheneError",),
    "core.images.image": ("Picture", "image"),
    "core.networks.network": ("Network", "Preprocess"),
    "core.objectives.classes": ("Logit", "Probability"),
    "core.objectives.objective": ("Objective",),
    "core.objectives.units": ("Channel", "ChannelMax", "Neuron"),
    "core.objectives.grammar": ("parse",),
    "core.result": ("Result",),
    "report": ("report",),
    "studies.study": ("Study",),
    "studies.class_units": ("class_units",),
    "studies.examine": ("examine",),
    "studies.explain": ("explain",),
    "studies.plate": ("plate",),
    "studies.evaluate": ("evaluate",),
    "studies.unit_evidence": ("unit",),
    "survey": ("survey",),
    "survey.accumulators.accumulator": ("Accumulator",),
    "survey.accumulators.embedding": ("Embeddings",),
    "survey.maps.map_images": ("embedding_map",),
    "survey.maps.neighbors": ("neighbors",),
    "survey.accumulators.moments": ("DeadUnits",),
    "survey.store.run": ("Run",),
    "survey.accumulators.top": ("TopPatches",),
    "synthesis.recipes.ablation": ("ablate",),
    "synthesis.loop.loop": ("synthesize",),
    "synthesis.canvas.canvas": ("Fourier", "Perturbation", "Pixels"),
    "synthesis.recipes.dream": ("Dream", "dream"),
    "synthesis.transforms.pixel_regularizers": ("Blur", "ClipContribution", "ClipNorm", "Decay"),
    "synthesis.recipes.invert": ("Invert", "invert"),
    "synthesis.canvas.maco": ("MACO",),
    "synthesis.settings.preset": ("Best", "Lecture"),
    "synthesis.loop.optimizers": ("Adam", "Ascent", "LBFGS"),
    "synthesis.losses.feature_match": ("Match",),
    "synthesis.losses.gram": ("Gram",),
    "synthesis.losses.priors": ("L2", "TotalVariation"),
    "synthesis.canvas.pyramid": ("Pyramid",),
    "synthesis.losses.batchnorm_prior": ("BatchNormStatistics",),
    "synthesis.transforms.transforms": ("Affine", "Crops"),
    "synthesis.loop.recipe": ("Recipe", "Stage"),
    "synthesis.loop.run": ("run",),
    "synthesis.recipes.visualize": ("Visualize", "visualize"),
    "synthesis.recipes.zoom": ("Zoom", "zoom"),
    "weights.activations": ("activations",),
    "weights.filters": ("filters",),
    "zoo": ("load",),
    "zoo.samples": ("sample",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_RENAMED = {"image": "load"}

__all__ = sorted(_HOME)  # noqa: PLE0605  the table is the list


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'phosphene' has no attribute {name!r}")
    if name == _HOME[name]:  # a package that can be called, such as phosphene.report
        return importlib.import_module(f"phosphene.{name}")
    value = getattr(importlib.import_module(f"phosphene.{_HOME[name]}"), _RENAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
