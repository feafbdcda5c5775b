"""Nine tiny networks, each with one property that has broken other tools."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.core.networks.network import Network, Preprocess

SIZE = 32


class Functional(nn.Module):
    """ReLU as a method: tools that replace nn.ReLU modules miss it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x).relu()).relu().mean((2, 3)))


class InPlace(Functional):
    """The same with in-place ReLU, which overwrites the tensors that hooks recorded."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.two(F.relu_(self.one(x))), inplace=True).mean((2, 3)))


class Shared(Functional):
    """One nn.ReLU module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.two(self.relu(self.one(x)))).mean((2, 3)))


class Residual(nn.Module):
    """A skip around a ReLU, added in place, batch norm before it, max pooling and ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(3, 2, 1)
        self.conv, self.bn, self.relu, self.cap = (
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ReLU6(),
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.pool(self.cap(self.stem(x)))
        out = self.bn(self.conv(self.relu(skip)))
        out += skip
        return self.head(torch.relu(out).mean((2, 3)))


class Gap(nn.Module):
    """Convolutions, global average pooling and one linear layer: CAM is exact on it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(),
        )
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.features(x)).flatten(1))


class Linear(nn.Module):
    """A linear function of the pixels: every map has a closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * SIZE * SIZE, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class Tokens(nn.Module):
    """A class token and a grid of 4 × 4 patches, attention between them, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 12, 8, 8), nn.Parameter(torch.randn(1, 1, 12))
        self.norm, self.attention = nn.LayerNorm(12), nn.MultiheadAttention(12, 2, batch_first=True)
        self.mlp, self.gelu, self.head = nn.Linear(12, 12), nn.GELU(), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head(x[:, 0] + self.gelu(self.mlp(x))[:, 0])


class TupleOutput(Gap):
    """Logits first in a tuple, as detectors and auxiliary heads do."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        features = self.features(x)
        return self.head(self.pool(features).flatten(1)), features


class Dead(Gap):
    """All units of the last layer are inactive: maps are blank, with the reason among their notes."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.features[4].bias, -100.0)


NETS: dict[str, Callable[[], nn.Module]] = {
    "functional": Functional,
    "in-place": InPlace,
    "shared": Shared,
    "residual": Residual,
    "gap": Gap,
    "linear": Linear,
    "tokens": Tokens,
    "tuple": TupleOutput,
    "dead": Dead,
}
LABELS = ("tabby", "tiger cat", "goldfish", "crane", "crane")


def build(name: str, dtype: torch.dtype = torch.float32) -> Network:
    """One of the nine, with fixed weights and batch norms with other statistics than their initial ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = NETS[name]()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.5, 1.5)
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.2)
    preprocess = Preprocess((SIZE, SIZE), (0.5,) * 3, (0.25,) * 3)
    return Network(module.eval().to(dtype), preprocess, LABELS, name)


def pictures(count: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smooth random images (N, 3, 32, 32) in [0, 1]."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return F.interpolate(noise, (SIZE, SIZE), mode="bilinear", align_corners=False)
