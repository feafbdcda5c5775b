"""Photographs from the libraries that phosphene depends on; see `phosphene.core.images.samples`."""

from phosphene.core.images.samples import SAMPLES as SAMPLES
from phosphene.core.images.samples import sample as sample
