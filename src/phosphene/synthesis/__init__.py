"""Which image? Pictures that a network, or a part of it, responds to most."""

import importlib
import pkgutil

# A file in this folder may hold a canvas, a transform, an objective or a recipe: importing it registers it.
for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
