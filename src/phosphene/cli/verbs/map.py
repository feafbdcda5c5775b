"""`phosphene neighbors` and `map`: the images of a survey by similarity of their embeddings."""

from __future__ import annotations

from typing import Any, get_args

import click

from phosphene.cli.options import everywhere
from phosphene.cli.session import Session, session
from phosphene.cli.verbs.units import open_survey
from phosphene.core.images.image import Picture
from phosphene.survey.maps.map_images import embedding_map
from phosphene.survey.maps.nearest import Metric
from phosphene.survey.maps.neighbors import find_query
from phosphene.survey.maps.neighbors import neighbors as nearest_images
from phosphene.survey.maps.reduction import Reduction
from phosphene.survey.store.run import Run


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.argument("images", nargs=-1, required=True)
@click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="How many of each.")
@click.option("--metric", type=click.Choice(get_args(Metric)), default="l2", show_default=True, help="Of the features.")
@everywhere
def neighbors(survey: str, images: tuple[str, ...], k: int, metric: Metric, **options: Any) -> int:
    """The images of a survey nearest to a picture, by features and by pixels.

    RUN is the folder of a survey. IMAGE is one of its images, by number, path or file name, or any other picture, which
    then passes through the network of the survey.
    """
    command = session("neighbors", options)
    run = open_survey(command, survey)
    return command.finish(command.for_names(images, lambda name: _neighbors(command, run, name, k=k, metric=metric)))


def _neighbors(command: Session, run: Run, name: str, *, k: int, metric: Metric) -> dict[str, Any]:
    query = find_query(run, name)
    network = command.network if isinstance(query, Picture) else None
    result = nearest_images(run, query, k, metric=metric, network=network)
    return command.save(result, command.folder(result.name))


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.option("--method", type=click.Choice(sorted(Reduction.table)), default="t-sne", show_default=True, help="Which.")
@click.option("--dims", type=click.Choice(["2", "3"]), default="2", show_default=True, help="Dimensions.")
@click.option(
    "--place", multiple=True, type=click.Path(), help="Other pictures, or folders of them, to put on the map."
)
@everywhere
def map(survey: str, method: str, dims: str, place: tuple[str, ...], **options: Any) -> int:
    """A map on which images are near those with similar embeddings.

    RUN is the folder of a survey. Writes the coordinates as Parquet, a scatter by class, the thumbnails at their
    coordinates, and a mosaic in which none hides another. A map that is there already, made with the same options, is
    opened, and --place puts other pictures on it.
    """
    command = session("map", options)
    run = open_survey(command, survey)
    folder = command.folder(f"{run.folder.resolve().name} {method} {dims}d")
    with command.progress(f"{method} of {len(run.embeddings):,} images"):
        result = embedding_map(run, method=method, dims=int(dims), seed=command.seed, saved=folder)
    if place:
        result = result.with_pictures(command.network, list(command.pictures(place)))
    return command.finish([command.save(result, folder)])
