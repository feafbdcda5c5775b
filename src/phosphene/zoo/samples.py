"""Photographs that come with the libraries phosphene stands on; see `phosphene.core.samples`."""

from phosphene.core.samples import SAMPLES as SAMPLES
from phosphene.core.samples import sample as sample
