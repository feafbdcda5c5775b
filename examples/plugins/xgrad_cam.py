"""A method of your own, `phosphene attribute xgrad-cam sample:cat --plugin …/xgrad_cam.py`."""

import dataclasses

from torch import Tensor

from phosphene.attribution.cams.cam import LayerMap


@dataclasses.dataclass(frozen=True)
class XGradCAM(LayerMap, name="xgrad-cam"):
    """As Grad-CAM, with the mean of the gradient weighted by the activations.

    w[k] = Σ over positions of A[k] · d target / d A[k], divided by Σ A[k]. Cost: one backward pass down to the layer.

    Args:
        layer: at which the map is computed; the last spatial layer by default.
        rectify: keep positive values only.

    Reference: Fu et al., BMVC 2020.
    """

    def weights(self, a: Tensor, g: Tensor) -> Tensor:
        """One weight for each channel, (N, C, 1, 1)."""
        total = a.sum((2, 3), keepdim=True)
        return (a * g).sum((2, 3), keepdim=True) / total.where(total.abs() > 1e-9, 1.0)
