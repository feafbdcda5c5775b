"""`phosphene plate`: figure 2 of Zeiler and Fergus, from a survey."""

from __future__ import annotations

from typing import Any, get_args

import click

from phosphene.cli.options import everywhere
from phosphene.cli.session import Session, session
from phosphene.cli.verbs.units import open_survey
from phosphene.report import report
from phosphene.studies.evidence.neurons import ProjectionMethod
from phosphene.studies.plate import Extent
from phosphene.studies.plate import plate as draw
from phosphene.survey.store.run import Run


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.option("--layer", "layers", multiple=True, required=True, help="Whose units; may be given several times.")
@click.option("--units", default="random:16", show_default=True, help="random:16, top:16 or channels such as 1,5,9.")
@click.option("--k", type=click.IntRange(1), default=9, show_default=True, help="Strongest patches of each unit.")
@click.option(
    "--method",
    type=click.Choice(get_args(ProjectionMethod)),
    help="How to project. [default: deconvnet where there is max pooling, else guided-backprop]",
)
@click.option(
    "--field",
    type=click.Choice(get_args(Extent)),
    default="effective",
    show_default=True,
    help="What to cut out: the effective or the exact receptive field.",
)
@click.option("--check", is_flag=True, help="Hide the pixels that are shown, and measure how far the activations fall.")
@click.option("--side", type=click.IntRange(8), default=96, show_default=True, help="Of a patch, in pixels.")
@everywhere
def plate(survey: str, layers: tuple[str, ...], **options: Any) -> int:
    """The strongest activations of some units over a survey, each projected to pixels, beside its image patch.

    RUN is the folder of a survey. The network is that of the survey; give --weights where the survey had them.
    """
    how = {name: options.pop(name) for name in ("units", "k", "method", "field", "check", "side")}
    run = session("plate", options)
    surveyed = open_survey(run, survey)
    return run.finish(run.for_names(layers, lambda layer: _plate(run, surveyed, layer, how)))


def _plate(run: Session, survey: Run, layer: str, how: dict[str, Any]) -> dict[str, Any]:
    folder = run.folder(layer)
    with run.progress(layer) as watch:
        plate_of_layer = draw(run.network, survey, layer, seed=run.seed, watch=watch, **how)
    return run.save(report(plate_of_layer), folder)
