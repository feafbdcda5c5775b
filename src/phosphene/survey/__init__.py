"""Which images? One pass over a folder, and statistics of every unit: `phosphene.survey(net, "photos/", "run/")`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from phosphene.survey.engine.survey import survey as survey
from phosphene.survey.store.run import Run as Run


class _Callable(ModuleType):
    """A module that can be called: the package and the verb share the name phosphene.survey."""

    def __call__(self, *args: Any, **options: Any) -> Run:
        return survey(*args, **options)


sys.modules[__name__].__class__ = _Callable
