"""What every verb needs while it runs: the network, the pictures, folders for results, messages and progress."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
from rich import progress as bars
from rich.console import Console

from phosphene.core import files
from phosphene.core.errors import ImageError, OptionError, OutputError, PhospheneError
from phosphene.core.folder import OutputFolder
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Result

Input = TypeVar("Input")
Stored = dict[str, Any]
"""A manifest: what result.json holds."""


@dataclasses.dataclass
class Session:
    """One run of the command line.

    Args:
        verb: what runs.
        model: as `phosphene.load` takes it.
        weights: file of weights, or None.
        device: where to run.
        seed: of every random choice.
        output: folder that was asked for, or None.
        as_json: whether standard output gets the manifest.
        quiet: whether progress is wanted.
        debug: whether errors show where they came from.
    """

    verb: str
    model: str
    weights: str | None
    device: str
    seed: int
    output: str | None
    as_json: bool
    quiet: bool
    debug: bool
    failed: list[str] = dataclasses.field(default_factory=list)
    several: bool = False
    used: set[str] = dataclasses.field(default_factory=set)

    @cached_property
    def console(self) -> Console:
        """Standard error: progress and remarks."""
        return Console(stderr=True, quiet=self.quiet, highlight=False, soft_wrap=True)

    @cached_property
    def network(self) -> Network:
        """The network that was asked for."""
        from phosphene import zoo

        network = zoo.load(self.model, weights=self.weights, device=self.device)
        for note in network.notes:
            self.console.print(f"[dim]{network.name}: {note}[/dim]")
        return network

    def pictures(self, sources: Iterable[str]) -> Iterator[Picture]:
        """Every picture that can be read; the others are named, and the rest goes on."""
        from phosphene.zoo.samples import sample

        named = [sample(name.removeprefix("sample:")) if name.startswith("sample:") else name for name in sources]
        paths = list(image.find(named))
        self.several = len(paths) > 1
        for path in paths:
            try:
                yield image.load(path)
            except ImageError as error:
                self.fail(error)

    def fail(self, error: PhospheneError) -> None:
        """One input failed: say so, remember it, go on."""
        if self.debug or isinstance(error, OutputError):  # a full disk is no fault of the input
            raise error
        self.failed.append(f"{type(error).__name__}: {error}")
        click.echo(self.failed[-1], err=True)

    def for_pictures(self, sources: Iterable[str], make: Callable[[Picture], Stored]) -> list[Stored]:
        """The manifests of all pictures; a picture that fails is named, and the rest goes on."""
        return self._collected(self.pictures(sources), make)

    def for_names(self, names: Sequence[str], make: Callable[[str], Stored]) -> list[Stored]:
        """The manifests of all names; a name that fails is said, and the rest goes on."""
        self.several = len(names) > 1
        return self._collected(names, make)

    def _collected(self, inputs: Iterable[Input], make: Callable[[Input], Stored]) -> list[Stored]:
        stored = []
        for given in inputs:
            try:
                stored.append(make(given))
            except PhospheneError as error:
                self.fail(error)
        return stored

    def folder(self, name: str) -> Path:
        """Where the results of one input go: -o itself for a single one, else a folder of its own name.

        Raises:
            FolderError: there is a file, or the result of another verb.
        """
        whole = self.output is not None and not self.several
        folder = self.top if whole else self.top / files.unused(files.slug(name), self.used)
        OutputFolder(folder, self.verb)
        return folder

    def save(self, result: Result, folder: Path, *, name: str = "") -> dict[str, Any]:
        """Save what came of one input; say its lines, its notes, and where it is.

        Args:
            result: of this verb.
            folder: as `folder` named it, before the work began.
            name: of the input, before each line.

        Returns:
            its manifest, for `finish`.
        """
        stored = result.save(folder)
        for line in result.lines():
            self.say(f"{name}: {line}" if name else line)
        for note in result.notes:
            self.say(f"  {note}")
        page = any(file["path"] == "index.html" for file in stored["files"])
        self.say(f"→ {folder / 'index.html' if page else folder}")
        return stored

    def joint_folder(self, name: str) -> Path:
        """Where one result of all inputs goes: -o itself, else a folder of the name that is given.

        Raises:
            FolderError: there is a file, or the result of another verb.
        """
        folder = self.top if self.output is not None else self.top / files.slug(name)
        OutputFolder(folder, self.verb)
        return folder

    @property
    def top(self) -> Path:
        """Where the results of all inputs together go."""
        return Path(self.output or Path("phosphene-out") / self.verb)

    def say(self, text: str) -> None:
        """A remark on standard error, or the outcome on standard output where no JSON goes there."""
        click.echo(text, err=self.as_json)

    def finish(self, manifests: Sequence[Stored]) -> int:
        """Say how many inputs failed, print JSON if it was asked for, and return the exit code."""
        if self.failed and self.several:
            click.echo(f"{len(self.failed)} of {len(self.failed) + len(manifests)} inputs failed", err=True)
        if self.as_json:
            alone = len(manifests) == 1 and not self.failed
            click.echo(
                json.dumps(manifests[0] if alone else {"results": list(manifests), "errors": self.failed}, indent=1)
            )
        if self.failed and not manifests:
            return 2 if len(self.failed) == 1 else 3
        return 3 if self.failed else 0

    @contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Watch]:
        """A bar on standard error; yields what is told of progress.

        Args:
            text: what runs, until progress says otherwise.
            total: how many parts there will be.
        """
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
        )
        with bars.Progress(*columns, console=self.console, transient=True, disable=self.quiet) as bar:
            task = bar.add_task(text, total=total)

            def watch(progress: Progress) -> None:
                bar.update(task, completed=progress.done, total=progress.total, description=progress.what or text)

            yield watch


def session(verb: str, options: dict[str, Any]) -> Session:
    """The session of a verb; takes its own options out of those given.

    Raises:
        OptionError: no such device here.
    """
    import torch

    names = [
        field.name for field in dataclasses.fields(Session) if field.name not in {"verb", "failed", "several", "used"}
    ]
    run = Session(verb, **{name: options.pop(name) for name in names})
    try:
        torch.zeros(1, device=run.device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"the device {run.device!r} is not here; phosphene doctor lists those that are") from error
    torch.manual_seed(run.seed)
    return run
