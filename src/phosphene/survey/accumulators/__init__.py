"""What a survey keeps of every unit. A file in this folder is an accumulator: importing it registers it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable

from phosphene.core.errors import LayerError
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators.accumulator import Accumulator as Accumulator
from phosphene.survey.accumulators.accumulator import AccumulatorState as AccumulatorState
from phosphene.survey.accumulators.accumulator import BatchStatistics as BatchStatistics
from phosphene.survey.accumulators.accumulator import Columns as Columns
from phosphene.survey.accumulators.accumulator import SurveyLayer as SurveyLayer

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def default_accumulators(network: Network, *, k: int = 64) -> tuple[Accumulator, ...]:
    """Every accumulator that is on by default and can read the network: embeddings want a layer before the logits.

    Args:
        network: to be surveyed.
        k: for those that have an option of this name.
    """
    accumulators = named_accumulators([name for name, cls in Accumulator.table.items() if cls.default], k=k)
    return tuple(accumulator for accumulator in accumulators if _can_read(accumulator, network))


def named_accumulators(names: Iterable[str], *, k: int = 64) -> tuple[Accumulator, ...]:
    """Registered accumulators by name, each once.

    Args:
        names: registered names.
        k: for those that have an option of this name.

    Raises:
        OptionError: no accumulator of that name.
    """
    classes = [Accumulator.find(name) for name in dict.fromkeys(names)]
    return tuple(cls(**{option.name: k for option in cls.options() if option.name == "k"}) for cls in classes)


def _can_read(accumulator: Accumulator, network: Network) -> bool:
    try:
        accumulator.layers(network, ())
    except LayerError:
        return False
    return True
