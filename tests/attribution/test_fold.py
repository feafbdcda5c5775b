from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import nets
from phosphene.attribution.fold import fold, pairs


def settled(module: nn.Module) -> nn.Module:
    """In float64, with running statistics as a trained network has them."""
    generator = torch.Generator().manual_seed(0)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.2, generator=generator)
            each.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(each.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(each.bias, 0, 0.2, generator=generator)
    return module.double().eval()


MODULES = {
    "residual": lambda: nets.build("residual", torch.float64).module,
    "gap": lambda: nets.build("gap", torch.float64).module,
    "resnet18": lambda: settled(torchvision.models.resnet18()),
    "lite0": lambda: settled(timm.create_model("tf_efficientnet_lite0")),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_folded_module_is_the_same_function(name):
    torch.manual_seed(0)
    module, batch = MODULES[name](), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    folded = copy.deepcopy(module)
    norms = sum(isinstance(each, nn.BatchNorm2d) for each in module.modules())
    with torch.no_grad():
        truth = module(batch)
        assert len(fold(folded, batch)) == norms >= 1
        assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
        assert (folded(batch) - truth).abs().max() <= 1e-10 * truth.abs().max()


def test_the_activation_inside_a_norm_keeps_its_name():
    module = MODULES["lite0"]()
    fold(module, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    assert isinstance(module.get_submodule("bn1.act"), nn.ReLU6)


def test_what_is_read_is_not_folded():
    module = nets.build("residual").module
    assert [pair.conv for pair in pairs(module, torch.zeros(1, 3, 32, 32))] == ["conv"]
    assert fold(module, torch.zeros(1, 3, 32, 32), keep={"conv"}) == ()
    assert isinstance(module.bn, nn.BatchNorm2d)


class Strange(nn.Module):
    """Four pairs that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.a, self.b = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.live, self.c = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)
        self.changed, self.d = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.both, self.e, self.f = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.twice(self.a(self.twice(x))))
        x = self.d(self.changed(self.c(self.live(x))).relu_())
        x = self.both(x)
        return self.e(x) + self.f(x)


def test_neither_shared_nor_changed_nor_live_ones_are_pairs():
    assert pairs(Strange().eval(), torch.rand(2, 3, 4, 4)) == ()


def test_other_names_of_the_same_output_are_kept_too():
    module = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Identity(), nn.BatchNorm2d(4)).eval()
    (pair,) = pairs(module, torch.rand(1, 3, 4, 4))
    assert pair.shown == {"0", "0.0", "1"}
    assert fold(module, torch.rand(1, 3, 4, 4), keep={"1"}) == ()


def test_grouped_unbiased_and_unscaled_ones_fold():
    module = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8, affine=False))
    module[1].running_mean.normal_()
    module[1].running_var.uniform_(0.5, 2)
    module, batch = module.double().eval(), torch.rand(1, 4, 6, 6, dtype=torch.float64)
    truth = module(batch)
    assert len(fold(module, batch)) == 1
    assert (module(batch) - truth).abs().max() < 1e-14
