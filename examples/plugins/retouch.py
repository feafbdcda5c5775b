"""A recipe of your own, `phosphene retouch sample:cat --to goldfish --plugin …/retouch.py`."""

import dataclasses

import phosphene as ph
from phosphene.core.images import image


@dataclasses.dataclass(frozen=True)
class Retouch(ph.Recipe, name="retouch"):
    """A photograph, changed until the network sees another class in it: by large steps, then by small ones.

    Args:
        to: the class.
        steps: of both stages together.
        lr: root mean square of a large step, in [0, 1] of pixels.
    """

    to: str = "goldfish"
    steps: int = 40
    lr: float = 0.008

    def stages(self, job):
        target, images = ph.parse(self.to, job.network), image.resize(job.images[0], (224, 224))
        moved = [ph.Affine(jitter=8)]
        for lr in (self.lr, self.lr / 4):
            step = ph.Ascent(lr)
            made = yield ph.Stage(target, self.steps // 2, ph.Pixels(), start=images, transforms=moved, optimizer=step)
            images = made.images
        return dataclasses.replace(made, verb="retouch")
