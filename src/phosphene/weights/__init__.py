"""What is stored in a network: the kernels of a layer, and its activations for an image."""

from phosphene.weights.activation_maps import ActivationMaps as ActivationMaps
from phosphene.weights.activation_maps import LayerActivations as LayerActivations
from phosphene.weights.activations import activations as activations
from phosphene.weights.activations import activations_all as activations_all
from phosphene.weights.filters import Duplicates as Duplicates
from phosphene.weights.filters import Filters as Filters
from phosphene.weights.filters import Kernel as Kernel
from phosphene.weights.filters import filters as filters
from phosphene.weights.response import Response as Response
