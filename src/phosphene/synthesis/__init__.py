"""Which image? Pictures that a network, or a part of it, responds to most."""

import importlib
import pkgutil

# A file in this folder may hold a canvas, a transform, an objective or a recipe: importing it registers it.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
