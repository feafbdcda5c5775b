"""A recipe of your own, `phosphene style-transfer content.jpg style.jpg --plugin …/style_transfer.py`."""

import dataclasses

import phosphene as ph
from phosphene.core.images.image import resize
from phosphene.core.networks.anatomy import spread_layers


@dataclasses.dataclass(frozen=True)
class StyleTransfer(ph.Recipe, name="style-transfer"):
    """The content of one picture with the Gram matrices of another, from coarse to fine (Gatys et al., CVPR 2016).

    Args:
        weight: of the style.
        steps: at each size.
    """

    joint = True
    weight: float = 10.0
    steps: int = 100

    def stages(self, job):
        (*shallow, deep), made, (height, width) = spread_layers(job.network), None, job.network.preprocess.size
        for size in ((height // 2, width // 2), (height, width)):
            content, style = (resize(images, size) for images in job.images)
            grams = (-self.weight * ph.Gram.of(job.network, style, layer) for layer in shallow)
            target = sum(grams, start=-1.0 * ph.Match.of(job.network, content, deep))
            made = yield ph.Stage(target, self.steps, ph.Pixels(), start=resize(made.images, size) if made else content)
        return made
