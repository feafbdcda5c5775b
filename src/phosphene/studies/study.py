"""A study: one figure of a paper, made from pictures. Each is one class in one file of this folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Network
from phosphene.core.progress import Watch
from phosphene.core.registry import Named
from phosphene.core.result import Result


@dataclasses.dataclass(frozen=True)
class Study(Named):
    """One figure of a paper, made from a network and pictures. Its fields are its options.

    `phosphene study NAME PICTURES…` runs it. The result has the verb "study", and the name of the study in its
    options.
    """

    def study(
        self, network: Network, pictures: Sequence[Picture], *, seed: int = 0, watch: Watch | None = None
    ) -> Result:
        """Make the figure.

        Args:
            network: that is studied.
            pictures: photographs of any size, at least one.
            seed: of every random choice.
            watch: is told of progress; true stops after the pictures that are done.

        Raises:
            PhospheneError: the study cannot be made of this network or these pictures.
        """
        raise NotImplementedError
