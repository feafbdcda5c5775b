"""Images that were made, with the film of the steps where one was asked for."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator

from torch import Tensor

from phosphene.core import files
from phosphene.core.images import image
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Images
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import File, Result
from phosphene.synthesis.loop.step_film import Film


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Animated(Result):
    """A result of a recipe.

    Args:
        film: of its steps; None where none was asked for.
    """

    film: Film | None = dataclasses.field(default=None, repr=False)

    def step_files(self) -> Iterator[File]:
        """steps.gif or steps.mp4, where the film was asked for."""
        if self.film is not None:
            yield self.film.file("steps")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Synthesis(Animated):
    """Images, and how they came about.

    Args:
        images: (N, 3, H, W) in [0, 1].
        objectives: (N,), what each was made for.
        scores: (steps, N), the objective on the transformed images, step by step.
    """

    verb: str = "synthesize"
    images: Images = dataclasses.field(repr=False)
    objectives: tuple[Objective, ...] = ()
    scores: Tensor = dataclasses.field(repr=False)

    @property
    def target(self) -> str:
        """The objectives, each named once."""
        return ", ".join(dict.fromkeys(map(str, self.objectives)))

    def pictures(self) -> tuple[Uint8Image, ...]:
        """uint8 (H, W, 3) each."""
        return tuple(image.levels(pixels) for pixels in self.images)

    def lines(self) -> tuple[str, ...]:
        """The objective of each image before the first and before the last step."""
        done = self.scores[~self.scores.isnan().any(1)]
        ends = done[[0, -1]].T.tolist() if len(done) else []
        return tuple(
            f"{name}: {first:.3g} → {last:.3g}"
            for name, (first, last) in zip(numbered(map(str, self.objectives)), ends, strict=False)
        )

    def files(self) -> Iterator[File]:
        """A PNG for each image, scores.npy with the objective of every step, and the film of the steps."""
        taken = set[str]()
        names = numbered(map(str, self.objectives)) if self.objectives else ("picture",) * len(self.images)
        for name, pixels in zip(names, self.pictures(), strict=True):
            yield File.picture(f"{files.unused(files.slug(name), taken)}.png", pixels, target=name)
        yield File.array("scores.npy", self.scores.cpu().numpy(), kind="table")
        yield from self.step_files()


def numbered(names: Iterable[str]) -> tuple[str, ...]:
    """Names, those that occur several times with their numbers.

    >>> numbered(["a", "b", "a"])
    ('a #1', 'b', 'a #2')
    """
    plain, seen, told = list(names), Counter[str](), list[str]()
    for name in plain:
        seen[name] += 1
        told.append(f"{name} #{seen[name]}" if plain.count(name) > 1 else name)
    return tuple(told)
