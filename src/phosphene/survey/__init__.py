"""Which images? One pass over a folder, and what every unit looks for. `phosphene.survey(net, "photos/", "run/")`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from phosphene.survey.engine.survey import survey as survey
from phosphene.survey.store.run import Run as Run


class _Callable(ModuleType):
    """The package and the verb share the name phosphene.survey: whoever imports the one can call the other."""

    def __call__(self, *args: Any, **options: Any) -> Run:
        return survey(*args, **options)


sys.modules[__name__].__class__ = _Callable
