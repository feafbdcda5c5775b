"""`phosphene neighbors` and `map`: the images of a survey by what the network finds alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from phosphene.cli.options import everywhere
from phosphene.cli.session import Session, session
from phosphene.cli.verbs.units import open_survey
from phosphene.core import files
from phosphene.core.errors import ImageError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.result import Cost, Manifest
from phosphene.survey.accumulators.embedding import embed
from phosphene.survey.maps.embedding_map import EmbeddingMap, embedding_map
from phosphene.survey.maps.mosaic import photograph
from phosphene.survey.maps.nearest import Metric
from phosphene.survey.maps.neighbors import neighbors as nearest_images
from phosphene.survey.maps.reduction import Projection
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import write_table


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.argument("images", nargs=-1, required=True)
@click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="How many of each.")
@click.option("--metric", type=click.Choice(get_args(Metric)), default="l2", show_default=True, help="Of the features.")
@everywhere
def neighbors(survey: str, images: tuple[str, ...], k: int, metric: Metric, **options: Any) -> int:
    """The images of a survey nearest to a picture, in feature space beside in pixel space.

    RUN is the folder of a survey. IMAGE is one of its images, by number, path or file name, or any other picture, which
    then goes through the network of the survey.
    """
    run = session("neighbors", options)
    found = Run.open(survey)
    return run.finish(run.each(images, lambda name: _neighbors(run, found, name, k=k, metric=metric)))


def _neighbors(run: Session, found: Run, name: str, *, k: int, metric: Metric) -> Manifest:
    query = _query(found, name)
    new = isinstance(query, Picture)
    result = nearest_images(found, query, k, metric=metric, embed=_embed(run, found) if new else None)
    folder = run.folder(query.name if isinstance(query, Picture) else Path(found.source(query)).stem)
    manifest = Manifest(
        "neighbors", inputs=(query,) if isinstance(query, Picture) else (), files=tuple(result.save(folder)),
        options={"survey": str(found.folder), "k": k, "metric": metric}, seed=run.seed, cost=Cost(forwards=int(new)),
        extra={"model": found.manifest["model"], **result.table(), "notes": list(result.notes)},
    )  # fmt: skip
    manifest.save(folder)
    run.say(f"{name} → {folder / 'neighbors.png'}")
    for each in result.features:
        run.say(f"  {each.distance:8.3f}  {each.label}{each.label and '  '}{each.source}")
    for note in result.notes:
        run.say(f"  {note}")
    return manifest


def _query(found: Run, name: str) -> int | Picture:
    """An image of the run, or else the picture at a path."""
    try:
        return found.find(name)
    except ImageError:
        if not Path(name).exists():
            raise
        return image.load(name)


def _embed(run: Session, found: Run) -> Any:
    open_survey(run, str(found.folder)).check_network(run.network)
    return lambda picture: tuple(np.asarray(each) for each in embed(run.network, found.manifest["embedding"], picture))


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.option(
    "--method", type=click.Choice(sorted(Projection.table)), default="t-sne", show_default=True, help="Which."
)
@click.option("--dims", type=click.Choice(["2", "3"]), default="2", show_default=True, help="Dimensions.")
@click.option(
    "--place", multiple=True, type=click.Path(), help="Other pictures, or folders of them, to put on the map."
)
@everywhere
def map(survey: str, method: str, dims: str, place: tuple[str, ...], **options: Any) -> int:
    """A map on which images stand near those that the network finds alike.

    RUN is the folder of a survey. Writes the coordinates as Parquet, a scatter by class, the thumbnails at their
    places, and a mosaic in which none hides another. A map that is there already, made with the same options, is kept,
    and --place puts other pictures on it.
    """
    run = session("map", options)
    found = Run.open(survey)
    folder = run.folder(f"{found.folder.resolve().name} {method} {dims}d")
    labels = _labels(found)
    how = {"method": method, "dims": int(dims), "seed": run.seed}
    drawn = _kept(folder, found, labels, how)
    if drawn is None:
        with run.progress(f"{method} of {len(found.embeddings):,} images"):
            drawn = embedding_map(found.embeddings, method=method, dims=int(dims), seed=run.seed, labels=labels)
    written = drawn.save(folder, partial(photograph, found, side=96))
    files.write(folder / _STAMP, _stamp(found, how))
    placed = _place(run, found, drawn, place) if place else []
    if placed:
        columns = {axis: np.array([each["at"][at] for each in placed]) for at, axis in enumerate("xyz"[: int(dims)])}
        sources = np.array([each["source"] for each in placed], object)
        written.append(
            {"path": write_table(folder / "placed.parquet", {"source": sources, **columns}).name, "kind": "table"}
        )
    extra = {"model": found.manifest["model"], **drawn.record(), "placed": placed}
    chosen = {"survey": survey, "method": method, "dims": int(dims)}
    manifest = Manifest("map", options=chosen, files=tuple(written), seed=run.seed, cost=Cost(len(placed)), extra=extra)
    manifest.save(folder)
    run.say(f"{drawn.title} → {folder}")
    for note in drawn.notes:
        run.say(f"  {note}")
    for each in placed:
        run.say(
            f"  {each['source']} stands at {', '.join(f'{at:.2f}' for at in each['at'])}, nearest {each['nearest']}"
        )
    return run.finish([manifest])


def _labels(found: Run) -> list[str]:
    """The labels of the images; where the source gave none, the classes that the network named."""
    return [str(each) for each in found.images["label" if found.manifest["named"] else "prediction"]]


def _kept(folder: Path, found: Run, labels: list[str], chosen: dict[str, Any]) -> EmbeddingMap | None:
    """The map that the folder holds, if it was made of these embeddings in this way."""
    stamp = folder / _STAMP
    if not stamp.exists() or stamp.read_text() != _stamp(found, chosen):
        stamp.unlink(missing_ok=True)
        return None
    return EmbeddingMap.open(folder, found.embeddings, labels) if (folder / "map.json").exists() else None


def _stamp(found: Run, chosen: dict[str, Any]) -> str:
    return files.sha256(repr((found.manifest["digest"], sorted(chosen.items()))).encode())


def _place(run: Session, found: Run, drawn: EmbeddingMap, sources: tuple[str, ...]) -> list[dict[str, Any]]:
    """Put other pictures on the map: where each stands, and which image is nearest to it there."""
    how, pictures = _embed(run, found), list(run.pictures(sources))
    if not pictures:
        return []
    places = drawn.place(np.stack([how(picture)[0] for picture in pictures]))
    apart = np.linalg.norm(drawn.coordinates[None] - places[:, None], axis=2)
    nearest = [found.source(int(each)) for each in np.nanargmin(apart, 1)]
    rows = zip(pictures, places.tolist(), nearest, strict=True)
    return [{"source": picture.path, "at": at, "nearest": near} for picture, at, near in rows]


_STAMP = "map.sha256"
