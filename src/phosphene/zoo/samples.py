"""Photographs that come with the libraries phosphene stands on; see `phosphene.core.images.samples`."""

from phosphene.core.images.samples import SAMPLES as SAMPLES
from phosphene.core.images.samples import sample as sample
