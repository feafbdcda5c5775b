"""From states to tables: the last step of a survey."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core import files
from phosphene.core.errors import RunError
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost
from phosphene.survey.accumulators.accumulator import Accumulator, Columns, SurveyLayer
from phosphene.survey.engine.checkpoint import SurveyCheckpoint, clear
from phosphene.survey.engine.fold import Fold, States
from phosphene.survey.engine.patch_boxes import boxes
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.sources.image_list import ImageList
from phosphene.survey.store.seal import RESULT, seal
from phosphene.survey.store.table import write_table

EDGES = ("top", "left", "bottom", "right")


def finish(checkpoint: SurveyCheckpoint, fold: Fold, network: Network, images: ImageList, *, cost: Cost) -> None:
    """Write the tables and the manifest, and delete what only an unfinished survey needs.

    The manifest comes last: a folder without it is not finished, and finishing it again gives the same bytes.

    Raises:
        RunError: files of the survey were deleted while it ran.
        OutputError: the disk is full.
    """
    folder, output = checkpoint.folder, checkpoint.output
    rows = [f"{name}.npy" for name in checkpoint.arrays]
    if missing := [name for name in rows if not (folder / name).is_file()]:
        raise RunError(f"{folder / missing[0]} was deleted while the survey ran; run it again into a new folder")
    states = fold.compact()
    tables = {"images": images_table(network, images, checkpoint.facts, checkpoint.failures)}
    tables |= unit_tables(fold.plan, states, network, checkpoint.facts["box"])
    arrays = dict(layer_arrays(fold.plan, states))
    names = [*rows, *(f"{name}.parquet" for name in tables), *arrays]
    output.claim(*names, RESULT)
    for name, columns in tables.items():
        write_table(folder / f"{name}.parquet", columns)
    for path, array in arrays.items():
        files.write_array(folder / path, array)
    output.own(seal(folder, manifest(checkpoint, fold, network, images, cost=cost), names))
    clear(folder)


def unit_tables(
    plan: SurveyPlan, states: States, network: Network, box_of: npt.NDArray[np.float64]
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """The tables that the accumulators of a plan declare, each with the rows of all layers one below the other."""
    parts: dict[str, list[tuple[str, Columns]]] = {
        table: [] for accumulator in plan.distinct() for table in accumulator.tables
    }
    for name, accumulators in plan.accumulators.items():
        for table, columns in _tables_of_layer(plan.layers[name], accumulators, states).items():
            places = {"image", "row", "column"} <= columns.keys()
            fields = _fields(network, name, columns, box_of) if places else {}
            parts[table].append((name, {**columns, **fields}))
    return {table: _stacked(of_layers) for table, of_layers in sorted(parts.items()) if of_layers}


def _tables_of_layer(layer: SurveyLayer, accumulators: tuple[Accumulator, ...], states: States) -> dict[str, Columns]:
    """Table → columns of one layer; the columns of "units" are those of several accumulators."""
    tables: dict[str, Columns] = {}
    for accumulator in accumulators:
        for table, columns in accumulator.result(states[layer.name, str(accumulator.name)], layer).items():
            if table == "units" and table not in tables:
                tables[table] = {"channel": np.arange(layer.channels, dtype=np.int32)}
            tables[table] = {**tables.get(table, {}), **columns}
    return tables


def layer_arrays(plan: SurveyPlan, states: States) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Path → array, for those that are not tables."""
    for layer, accumulator in plan.pairs():
        for name, array in accumulator.layer_arrays(states[layer.name, str(accumulator.name)], layer).items():
            yield f"{name}/{files.slug(layer.name)}.npy", array


def _fields(network: Network, layer: str, places: Columns, box_of: npt.NDArray[np.float64]) -> Columns:
    """The columns of the receptive fields of places."""
    edges, whole = boxes(network, layer, places["row"], places["column"], box_of[places["image"]])
    return {**{name: edges[:, at] for at, name in enumerate(EDGES)}, "whole": whole}


def _stacked(parts: list[tuple[str, Columns]]) -> dict[str, npt.NDArray[Any]]:
    """The tables of all layers, one below the other."""
    columns = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
    lengths = [len(part["channel"]) for _, part in parts]
    return {"layer": np.repeat(np.array([layer for layer, _ in parts], object), lengths), **columns}


def images_table(
    network: Network, images: ImageList, facts: npt.NDArray[Any], failures: Mapping[int, str]
) -> dict[str, npt.NDArray[Any]]:
    """A row for each image."""
    predicted = facts["predicted"]
    names = [network.label(index) if index >= 0 else "" for index in predicted.tolist()]
    return {
        "image": np.arange(len(images), dtype=np.int32),
        "source": np.array(images.sources, object),
        "label": np.array(images.classes, object),
        "ok": facts["status"] == 1,
        "error": np.array([failures.get(number, "") for number in range(len(images))], object),
        "width": facts["width"],
        "height": facts["height"],
        "sha256": np.array([digest.decode() for digest in facts["sha256"]], object),
        **{name: facts["box"][:, at] for at, name in enumerate(EDGES)},
        "predicted": predicted,
        "prediction": np.array(names, object),
        "probability": facts["probability"],
        "logit": facts["logit"],
    }


def manifest(
    checkpoint: SurveyCheckpoint, fold: Fold, network: Network, images: ImageList, *, cost: Cost
) -> dict[str, Any]:
    """result.json without its list of files, in the order of `phosphene.core.result.Result.manifest`."""
    plan = fold.plan
    with_states = {layer for (layer, _), state in fold.states.items() if state}
    embedding = [layer.name for layer, accumulator in plan.pairs() if accumulator.name == "embeddings"]
    failed = [error_line(images.sources[number], why) for number, why in sorted(checkpoint.failures.items())]
    return {
        "phosphene": version("phosphene"),
        "verb": "survey",
        "seed": plan.seed,
        "options": {},
        "target": "",
        "model": {"name": network.name, "sha256": network.sha256}
        | ({"notes": list(network.notes)} if network.notes else {}),
        "inputs": [],
        "predictions": [],
        "files": [],
        "cost": dataclasses.asdict(cost),
        "errors": [*images.damage, *failed],
        "notes": [*images.notes, *checkpoint.notes],
        "survey": dict(checkpoint.plan),
        "layers": {
            name: {"channels": layer.channels, "grid": list(layer.grid)}
            for name, layer in plan.layers.items()
            if name in with_states
        },
        "embedding": next(iter(embedding), ""),
        "labeled": plan.labeled,
    }


def error_line(source: str, why: str) -> str:
    """Why an image failed, as a line that names it once.

    >>> error_line("/a.jpg", "/a.jpg is cut short"), error_line("/a.jpg", "the picture has no pixels")
    ('/a.jpg is cut short', '/a.jpg: the picture has no pixels')
    """
    return why if why.startswith(source) else f"{source}: {why}"
