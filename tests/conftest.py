"""One thread for all tests: on tiny networks the others only wait, and on a busy machine they wait long."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
