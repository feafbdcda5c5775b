"""What is stored? The kernels of a layer, and what each channel of it makes of one picture."""

from phosphene.weights.activations import ActivationMaps as ActivationMaps
from phosphene.weights.activations import activations as activations
from phosphene.weights.activations import activations_all as activations_all
from phosphene.weights.filters import Filters as Filters
from phosphene.weights.filters import Kernel as Kernel
from phosphene.weights.filters import Twins as Twins
from phosphene.weights.filters import filters as filters
from phosphene.weights.response import Response as Response
