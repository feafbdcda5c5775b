"""A recipe of your own, `phosphene style-transfer content.jpg style.jpg --plugin …/style_transfer.py`."""

import dataclasses

import phosphene as ph
from phosphene.core.images import image
from phosphene.core.networks.anatomy import spread_layers


@dataclasses.dataclass(frozen=True)
class StyleTransfer(ph.Recipe, name="style-transfer"):
    """The content of one picture with the Gram matrices of another, from coarse to fine (Gatys et al., CVPR 2016).

    Args:
        weight: of the style.
        steps: at each size.
    """

    joint = True  # both pictures make one result
    weight: float = 10.0
    steps: int = 100

    def stages(self, job):
        (*shallow, deep), made = spread_layers(job.network), None
        for size in (tuple(side // 2 for side in job.network.preprocess.size), job.network.preprocess.size):
            content, style = (image.resize(images, size) for images in job.images)
            styles = [self.weight * ph.Gram.of(job.network, style, layer) for layer in shallow]
            target = -1.0 * ph.Match.of(job.network, content, deep) - sum(styles[1:], start=styles[0])
            start = image.resize(made.images, size) if made else content
            made = yield ph.Stage(objective=target, start=start, steps=self.steps, canvas=ph.Pixels())
        return made
