"""What is seen of pictures while they are made: a bar and a preview."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import progress as bars

from phosphene.cli.session import Session
from phosphene.core.folder import OutputFolder

if TYPE_CHECKING:
    from phosphene.core.images.image import Picture
    from phosphene.core.progress import Progress, Watch
    from phosphene.synthesis.loop.recipe import Recipe


@contextmanager
def preview(run: Session, text: str, output: OutputFolder) -> Iterator[Watch]:
    """A watcher of recipes: objective, steps a second, time left; every two seconds a new preview.png.

    Args:
        run: whose standard error is written to.
        text: what is made.
        output: folder of the preview, which goes once the result is saved.
    """
    from phosphene.core.images import image
    from phosphene.synthesis.loop.step_film import sheet

    columns = (
        *(bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn()),
        *(bars.TextColumn("{task.fields[rate]}"), bars.TimeRemainingColumn()),
    )
    with bars.Progress(*columns, console=run.console, transient=True, disable=run.quiet) as bar:
        task, last = bar.add_task(text, total=None, rate=""), time.monotonic()

        def watch(progress: Progress) -> None:
            nonlocal last
            speed, scores = bar.tasks[task].speed, progress.scores
            rate = "" if scores is None else ", ".join(f"{score:.3g}" for score in scores[:4].tolist())
            rate = f"{speed:.1f} steps/s, {rate}" if speed else rate
            what = f"{text}: {progress.what}" if progress.what else text
            bar.update(task, completed=progress.done, total=progress.total, rate=rate, description=what)
            if progress.preview is not None and time.monotonic() - last > _SECONDS:
                last = time.monotonic()
                output.claim("preview.png")
                pictures = [image.levels(pixels) for pixels in progress.preview]
                image.save(output.path / "preview.png", sheet(pictures))

        yield watch


def make(run: Session, recipe: Recipe[Any], *inputs: Picture | str, **options: Any) -> dict[str, Any]:
    """Run a recipe and save its result; interrupted, the same command goes on where it was.

    Args:
        run: network, seed and folder.
        recipe: what to do.
        inputs: a photograph, or several of one result, or targets.
        options: of `phosphene.synthesis.loop.run.run`.

    Returns:
        the manifest, for `Session.finish`.
    """
    from phosphene.synthesis.loop.run import run as run_recipe

    names = [given if isinstance(given, str) else given.name for given in inputs]
    paths = [given.path for given in inputs if not isinstance(given, str) and given.path not in {"", "-"}]
    name = names[0] if len(names) == 1 else "-".join(names[:2])
    folder = run.folder(name) if len(names) == 1 else run.joint_folder(name)
    output = OutputFolder(folder, run.verb, inputs=paths)
    with preview(run, ", ".join(names)[:_NAMED], output) as watch:
        state, seed = output.state, run.seed
        result = run_recipe(recipe, run.network, *inputs, state=state, seed=seed, watch=watch, **options)
    return run.save(result, folder, name=name)


_SECONDS = 2.0  # between two previews
_NAMED = 40  # letters of the inputs beside the bar
