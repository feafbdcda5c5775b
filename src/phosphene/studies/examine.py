"""Pictures of targets beside what photographs reach, what another network recognizes, and what else was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phosphene.core.errors import OptionError
from phosphene.core.images.image import Uint8Image
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.core.inputs import Target, bind_target
from phosphene.core.networks.network import Network
from phosphene.core.progress import Watch
from phosphene.core.result import File, Result
from phosphene.studies.evidence.photographs import Photographs, PhotographSource
from phosphene.studies.evidence.reference_levels import check_classes
from phosphene.studies.evidence.verdict import Verdict, verdicts
from phosphene.studies.facets import Facets
from phosphene.studies.facets import facets as cluster
from phosphene.survey.store.run import Run
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.step_film import Animation
from phosphene.synthesis.recipes.ablation import Ablate, Ablation
from phosphene.synthesis.recipes.visualization import Visualization
from phosphene.synthesis.recipes.visualize import Visualize
from phosphene.synthesis.settings.preset import Lecture, Preset


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Examination(Result):
    """Pictures of targets, and what was measured of them.

    Args:
        visualization: the pictures.
        verdicts: one for each picture.
        facets: the kinds of images that the pictures began from; None where none were asked for.
        ablation: sheet of the pixel regularizers; None where it was not asked for.
    """

    verb: str = "visualize"
    visualization: Visualization
    verdicts: tuple[Verdict, ...]
    facets: Facets | None = None
    ablation: Ablation | None = None

    @property
    def target(self) -> str:
        """The targets."""
        return self.visualization.target

    def pictures(self) -> tuple[Uint8Image, ...]:
        """Those of the visualization."""
        return self.visualization.pictures()

    def lines(self) -> tuple[str, ...]:
        """The verdict on each picture, then steps, size and cost."""
        height, width = self.visualization.images.shape[2:]
        steps = f"{len(self.visualization.scores)} steps at {height} × {width}"
        return (*map(str, self.verdicts), f"{self.visualization.preset.name}, {steps}, {self.cost}")

    def files(self) -> Iterator[File]:
        """Those of the visualization, ablation.png and facets.png."""
        yield from self.visualization.files()
        if self.ablation is not None:
            yield from self.ablation.files()
        if self.facets is not None:
            yield File.picture("facets.png", self.facets.picture())

    def facts(self) -> Mapping[str, Any]:
        """`results`: the verdict on each picture, and its facet."""
        results = [dict(verdict.manifest()) for verdict in self.verdicts]
        if self.facets is not None:
            for result, facet in zip(results, self.facets.facets, strict=True):
                result["facet"] = facet.label
        return {"results": results}


def examine(
    network: Network,
    targets: Target | Sequence[Target],
    *,
    preset: str | Preset | None = None,
    recipe: Visualize = Visualize(),
    facets: int | None = None,
    ablate: bool = False,
    natural: Run | PhotographSource | None = None,
    second: Network | None = None,
    seconds: float | None = None,
    precision: Precision = "float32",
    animate: Animation | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Examination:
    """Pictures of targets beside natural images. Cost: those of `visualize`, `verdicts`, `facets` and `ablate`.

    Args:
        network: whose units.
        targets: see `visualize`.
        preset: see `visualize`; that of the recipe by default.
        recipe: size, number of pictures.
        facets: number of pictures, each from another kind of image of `natural`.
        ablate: also a sheet of the regularizers of the preset "lecture", one at a time.
        natural: a survey, its folder, or photographs, to compare with; the six samples by default.
        second: another network that classifies the pictures.
        seconds: a budget of time for the pictures; see `run`, also for what follows.
        precision: of the network's multiplications.
        animate: "gif" or "mp4", also a film of the steps.
        state: a folder to keep the state in.
        seed: of every random choice.
        watch: is told of each step, and may stop.

    Raises:
        OptionError: facets of no images, of several targets, or with diverse pictures.
        ImageError: no photograph can be read.
        RunError: the survey is of another network.
        NetworkError: the second network has other classes.
    """
    several = [targets] if not isinstance(targets, Sequence) or isinstance(targets, str) else list(targets)
    if facets and natural is None:
        raise OptionError("facets are kinds of images, and there are none; give natural too")
    if facets and (len(several) > 1 or recipe.diverse > 1):
        raise OptionError(f"facets are for one target, without diverse; found {len(several)} targets")
    if preset is not None:
        recipe = dataclasses.replace(recipe, preset=Preset.make(preset))
    source = _opened(network, natural)
    if second is not None:
        check_classes(second, network)
    kinds = cluster(source, network, bind_target(network, several[0]), facets, seed=seed) if facets else None
    if kinds is not None:
        recipe = dataclasses.replace(recipe, starts=kinds.starts)
    options: dict[str, Any] = {"seconds": seconds, "precision": precision, "animate": animate, "state": state}
    visualization = run(recipe, network, *several, seed=seed, watch=watch, **options)
    sheet = None
    if ablate:
        lecture = recipe.preset if isinstance(recipe.preset, Lecture) else Lecture()
        folder = Path(state) / "ablation" if state else None
        sheet = run(Ablate(lecture, recipe.size), network, *several, state=folder, seed=seed, watch=watch)
    judged = verdicts(network, visualization, source=source, second=second)
    notes = dict.fromkeys(f"natural: {one.reference.note}" for one in judged if one.reference and one.reference.note)
    cost = visualization.cost + (sheet.cost if sheet else type(visualization.cost)())
    return Examination(
        visualization=visualization,
        verdicts=judged,
        facets=kinds,
        ablation=sheet,
        network=network,
        options={**visualization.options, "facets": facets, "ablate": ablate, "second": second and second.name},
        seed=seed,
        cost=cost,
        notes=(*(kinds.notes if kinds else ()), *notes, *visualization.notes),
    )


def _opened(network: Network, natural: Run | PhotographSource | None) -> Run | PhotographSource:
    """What pictures are compared with, opened before the long work."""
    if natural is None:
        return [str(sample(name)) for name in SAMPLES]
    source: Run | PhotographSource = natural
    if isinstance(natural, str | Path) and (Path(natural) / "result.json").exists():
        source = Run(natural)
    if isinstance(source, Run):
        source.check_network(network)
    else:
        Photographs.of(source, 1)  # an error now, if there are none
    return source
