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
    from phosphene.attribution import Heatmap as Heatmap
    from phosphene.attribution import attribute as attribute
    from phosphene.attribution.average import IntegratedGradients as IntegratedGradients
    from phosphene.attribution.average import SmoothGrad as SmoothGrad
    from phosphene.attribution.backprop import Deconvnet as Deconvnet
    from phosphene.attribution.backprop import Gradient as Gradient
    from phosphene.attribution.backprop import GuidedBackprop as GuidedBackprop
    from phosphene.attribution.backprop import InputXGradient as InputXGradient
    from phosphene.attribution.backprop import SuperposedDeconvnet as SuperposedDeconvnet
    from phosphene.attribution.cam import CAM as CAM
    from phosphene.attribution.cam import GradCAM as GradCAM
    from phosphene.attribution.cam import GradCAMPlusPlus as GradCAMPlusPlus
    from phosphene.attribution.cam import GuidedGradCAM as GuidedGradCAM
    from phosphene.attribution.cam import LayerCAM as LayerCAM
    from phosphene.attribution.heatmap import attribute_all as attribute_all
    from phosphene.attribution.occlusion import Occlusion as Occlusion
    from phosphene.attribution.occlusion import OcclusionClass as OcclusionClass
    from phosphene.attribution.rise import RISE as RISE
    from phosphene.attribution.score_cam import ScoreCAM as ScoreCAM
    from phosphene.core.errors import PhospheneError as PhospheneError
    from phosphene.core.film import film as film
    from phosphene.core.image import Picture as Picture
    from phosphene.core.image import load as _load
    from phosphene.core.network import Network as Network
    from phosphene.core.network import Preprocess as Preprocess
    from phosphene.core.objective import Channel as Channel
    from phosphene.core.objective import ChannelMax as ChannelMax
    from phosphene.core.objective import Logit as Logit
    from phosphene.core.objective import Neuron as Neuron
    from phosphene.core.objective import Objective as Objective
    from phosphene.core.objective import Probability as Probability
    from phosphene.core.targets import parse as parse
    from phosphene.report import report as report
    from phosphene.studies.belief import believe as believe
    from phosphene.studies.class_units import class_units as class_units
    from phosphene.studies.explain import explain as explain
    from phosphene.studies.facets import facets as facets
    from phosphene.studies.natural import natural as natural
    from phosphene.studies.plate import plate as plate
    from phosphene.studies.trust import trust as trust
    from phosphene.studies.units import unit as unit
    from phosphene.survey import survey as survey
    from phosphene.survey.base import Accumulator as Accumulator
    from phosphene.survey.coactivation import CoActivation as CoActivation
    from phosphene.survey.embedding import Embeddings as Embeddings
    from phosphene.survey.embedding_map import embedding_map as embedding_map
    from phosphene.survey.histogram import Histogram as Histogram
    from phosphene.survey.histogram import Samples as Samples
    from phosphene.survey.neighbors import neighbors as neighbors
    from phosphene.survey.selectivity import ClassSelectivity as ClassSelectivity
    from phosphene.survey.statistics import DeadUnits as DeadUnits
    from phosphene.survey.statistics import Moments as Moments
    from phosphene.survey.statistics import Sparsity as Sparsity
    from phosphene.survey.store import Run as Run
    from phosphene.survey.top import TopPatches as TopPatches
    from phosphene.synthesis.ablation import ablate as ablate
    from phosphene.synthesis.base import synthesize as synthesize
    from phosphene.synthesis.canvas import Fourier as Fourier
    from phosphene.synthesis.canvas import Perturbation as Perturbation
    from phosphene.synthesis.canvas import Pixels as Pixels
    from phosphene.synthesis.diversity import Diverse as Diverse
    from phosphene.synthesis.dream import Dream as Dream
    from phosphene.synthesis.dream import dream as dream
    from phosphene.synthesis.edits import Blur as Blur
    from phosphene.synthesis.edits import ClipContribution as ClipContribution
    from phosphene.synthesis.edits import ClipNorm as ClipNorm
    from phosphene.synthesis.edits import Decay as Decay
    from phosphene.synthesis.inversion import Strip as Strip
    from phosphene.synthesis.invert import Invert as Invert
    from phosphene.synthesis.invert import invert as invert
    from phosphene.synthesis.maco import MACO as MACO
    from phosphene.synthesis.manner import Best as Best
    from phosphene.synthesis.manner import Lecture as Lecture
    from phosphene.synthesis.optimizers import LBFGS as LBFGS
    from phosphene.synthesis.optimizers import Adam as Adam
    from phosphene.synthesis.optimizers import Ascent as Ascent
    from phosphene.synthesis.priors import L2 as L2
    from phosphene.synthesis.priors import TotalVariation as TotalVariation
    from phosphene.synthesis.pyramid import Pyramid as Pyramid
    from phosphene.synthesis.statistics import BatchNormStatistics as BatchNormStatistics
    from phosphene.synthesis.tiles import Tiles as Tiles
    from phosphene.synthesis.transforms import Affine as Affine
    from phosphene.synthesis.transforms import ColorShift as ColorShift
    from phosphene.synthesis.transforms import Crops as Crops
    from phosphene.synthesis.transforms import Flip as Flip
    from phosphene.synthesis.transforms import Pad as Pad
    from phosphene.synthesis.visualize import visualize as visualize
    from phosphene.synthesis.zoom import zoom as zoom
    from phosphene.weights.activations import activations as activations
    from phosphene.weights.filters import filters as filters
    from phosphene.zoo import load as load
    from phosphene.zoo.samples import sample as sample

    image = _load

# Where each public name is; looked up on first use, so that the command line answers before torch is imported.
_HOMES = {
    "attribution": ("Attribution", "Heatmap", "attribute", "attribute_all"),
    "attribution.average": ("IntegratedGradients", "SmoothGrad"),
    "attribution.backprop": ("Deconvnet", "Gradient", "GuidedBackprop", "InputXGradient", "SuperposedDeconvnet"),
    "attribution.cam": ("CAM", "GradCAM", "GradCAMPlusPlus", "GuidedGradCAM", "LayerCAM"),
    "attribution.occlusion": ("Occlusion", "OcclusionClass"),
    "attribution.rise": ("RISE",),
    "attribution.score_cam": ("ScoreCAM",),
    "core.errors": ("PhospheneError",),
    "core.film": ("film",),
    "core.image": ("Picture", "image"),
    "core.network": ("Network", "Preprocess"),
    "core.objective": ("Channel", "ChannelMax", "Logit", "Neuron", "Objective", "Probability"),
    "core.targets": ("parse",),
    "report": ("report",),
    "studies.belief": ("believe",),
    "studies.class_units": ("class_units",),
    "studies.explain": ("explain",),
    "studies.facets": ("facets",),
    "studies.natural": ("natural",),
    "studies.plate": ("plate",),
    "studies.trust": ("trust",),
    "studies.units": ("unit",),
    "survey": ("survey",),
    "survey.base": ("Accumulator",),
    "survey.coactivation": ("CoActivation",),
    "survey.embedding": ("Embeddings",),
    "survey.embedding_map": ("embedding_map",),
    "survey.histogram": ("Histogram", "Samples"),
    "survey.neighbors": ("neighbors",),
    "survey.selectivity": ("ClassSelectivity",),
    "survey.statistics": ("DeadUnits", "Moments", "Sparsity"),
    "survey.store": ("Run",),
    "survey.top": ("TopPatches",),
    "synthesis.ablation": ("ablate",),
    "synthesis.base": ("synthesize",),
    "synthesis.canvas": ("Fourier", "Perturbation", "Pixels"),
    "synthesis.diversity": ("Diverse",),
    "synthesis.dream": ("Dream", "dream"),
    "synthesis.edits": ("Blur", "ClipContribution", "ClipNorm", "Decay"),
    "synthesis.inversion": ("Strip",),
    "synthesis.invert": ("Invert", "invert"),
    "synthesis.maco": ("MACO",),
    "synthesis.manner": ("Best", "Lecture"),
    "synthesis.optimizers": ("Adam", "Ascent", "LBFGS"),
    "synthesis.priors": ("L2", "TotalVariation"),
    "synthesis.pyramid": ("Pyramid",),
    "synthesis.statistics": ("BatchNormStatistics",),
    "synthesis.tiles": ("Tiles",),
    "synthesis.transforms": ("Affine", "ColorShift", "Crops", "Flip", "Pad"),
    "synthesis.visualize": ("visualize",),
    "synthesis.zoom": ("zoom",),
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
