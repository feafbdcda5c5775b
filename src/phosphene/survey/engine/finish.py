"""From states to tables: the last step of a survey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core import files
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost, Manifest
from phosphene.survey.accumulators.accumulator import Columns, Site
from phosphene.survey.engine.checkpoint import Work, clear
from phosphene.survey.engine.fold import Fold
from phosphene.survey.engine.patch_boxes import boxes
from phosphene.survey.sources.image_list import Roll
from phosphene.survey.store.seal import seal
from phosphene.survey.store.table import write_table

TABLES = ("units", "patches", "classes", "histograms", "samples")


def finish(work: Work, fold: Fold, network: Network, images: Roll, *, cost: Cost) -> None:
    """Write the tables and the manifest, and remove what only an unfinished survey needs.

    The manifest comes last: a folder without it is not finished, and finishing it again gives the same bytes.
    """
    facts = work.arrays["work/facts"]
    write_table(work.folder / "images.parquet", images_table(network, images, facts, work.failures))
    found = tables(fold, network, facts["box"])
    for name in TABLES:
        if found[name]:
            write_table(work.folder / f"{name}.parquet", _stacked(found[name]))
    for layer, matrix in found["similar"]:
        files.write_array(work.folder / "similar" / f"{files.slug(layer)}.npy", matrix["correlation"])
    seal(work.folder, manifest(work, fold, network, images, cost=cost))
    clear(work.folder)


def tables(fold: Fold, network: Network, box_of: npt.NDArray[np.float64]) -> dict[str, list[tuple[str, Columns]]]:
    """Table → for each layer its columns."""
    found: dict[str, list[tuple[str, Columns]]] = {name: [] for name in (*TABLES, "similar")}
    settled = fold.settled()
    for layer, accumulators in fold.plan.listeners.items():
        site = fold.plan.sites[layer]
        units: dict[str, npt.NDArray[Any]] = {}
        for each in accumulators:
            for table, columns in each.result(settled[layer, str(each.name)], site).items():
                if table == "units":
                    units.update(columns)
                elif table == "patches":
                    found[table].append((layer, {**columns, **_boxes(network, site, columns, box_of)}))
                else:
                    found[table].append((layer, columns))
        if units:
            channel = np.arange(site.channels, dtype=np.int32)
            found["units"].append((layer, {"channel": channel, **units}))
    return found


def _boxes(network: Network, site: Site, patches: Columns, box_of: npt.NDArray[np.float64]) -> Columns:
    edges, whole = boxes(network, site.layer, patches["row"], patches["column"], box_of[patches["image"]])
    return {**{name: edges[:, at] for at, name in enumerate(("top", "left", "bottom", "right"))}, "whole": whole}


def _stacked(parts: list[tuple[str, Columns]]) -> dict[str, npt.NDArray[Any]]:
    """The tables of all layers, one below the other."""
    columns = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
    lengths = [len(part["channel"]) for _, part in parts]
    return {"layer": np.repeat(np.array([layer for layer, _ in parts], object), lengths), **columns}


def images_table(
    network: Network, images: Roll, facts: npt.NDArray[Any], failures: Mapping[int, str]
) -> dict[str, npt.NDArray[Any]]:
    """A row for each image."""
    predicted = facts["predicted"]
    return {
        "image": np.arange(len(images), dtype=np.int32),
        "source": np.array(images.sources, object),
        "label": np.array(images.classes, object),
        "ok": facts["seen"] == 1,
        "error": np.array([failures.get(number, "") for number in range(len(images))], object),
        "width": facts["width"],
        "height": facts["height"],
        "sha256": np.array([each.decode() for each in facts["sha256"]], object),
        **{name: facts["box"][:, at] for at, name in enumerate(("top", "left", "bottom", "right"))},
        "predicted": predicted,
        "prediction": np.array([network.label(each) if each >= 0 else "" for each in predicted.tolist()], object),
        "probability": facts["probability"],
        "logit": facts["logit"],
    }


def manifest(work: Work, fold: Fold, network: Network, images: Roll, *, cost: Cost) -> dict[str, Any]:
    """result.json without its list of files."""
    plan = fold.plan
    folded = {layer for (layer, _), state in fold.states.items() if state}
    layers = {
        name: {"channels": site.channels, "grid": list(site.grid)}
        for name, site in plan.sites.items()
        if name in folded
    }
    embedding = [layer for layer, found in plan.listeners.items() if any(each.name == "embeddings" for each in found)]
    failed = [named(images.sources[number], why) for number, why in sorted(work.failures.items())]
    extra = {
        "survey": dict(work.plan),
        "layers": layers,
        "embedding": next(iter(embedding), ""),
        "named": plan.named,
        "notes": [*images.notes, *work.remarks],
    }
    errors = (*images.damage, *failed)
    return Manifest("survey", network, cost=cost, seed=plan.seed, errors=errors, extra=extra).as_dict()


def named(source: str, why: str) -> str:
    """Why an image failed, as a line that names it once.

    >>> named("/a.jpg", "/a.jpg is cut short"), named("/a.jpg", "the picture has no pixels")
    ('/a.jpg is cut short', '/a.jpg: the picture has no pixels')
    """
    return why if why.startswith(source) else f"{source}: {why}"
