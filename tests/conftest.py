"""One thread for all tests: on tiny networks the others only wait, and a machine that is shared makes them wait long."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
