"""Integrated gradients and SmoothGrad, beside what they must add up to, captum and plain statistics."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.attribution import attribute
from phosphene.attribution.gradients.average import CHUNK, IntegratedGradients, SmoothGrad
from phosphene.attribution.gradients.backprop import InputXGradient
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images.image import Picture, save
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.units import Channel

AS_IS = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)
COLORS = {"black": 0.0, "white": 1.0, "grey": 0.5, "mean": 0.5}


@pytest.fixture
def images() -> Tensor:
    return nets.pictures(2, torch.float64)


class Smooth(nn.Module):
    """Convolutions and a smooth function between them."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.between = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 5, 3, 2), between

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.between(self.one(x))).mean((2, 3))


class Quadratic(nn.Module):
    """xᵀQx for each of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.randn(2, 48, 48) / 48)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return torch.einsum("ni,kij,nj->nk", x, self.q, x)


def made(module: nn.Module, size: int = 32) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in module.parameters():
            nn.init.normal_(parameter, 0, 0.3)
    return Network(module.double().eval(), Preprocess((size, size), (0.5,) * 3, (0.25,) * 3), name="made")


def gained(network: Network, images: Tensor, target: Any, color: float) -> Tensor:
    """What the target gains between a color and the images."""
    start = torch.full_like(images, color)
    return target(network.tap(images, target.reads)) - target(network.tap(start, target.reads))


# Integrated gradients


@pytest.mark.parametrize("baseline", COLORS)
@pytest.mark.parametrize("target", [Logit(1), Logit(2) - 3 * Logit(0), Channel("one", 2), Probability(3)], ids=str)
@pytest.mark.parametrize("between", [torch.tanh, torch.nn.functional.gelu, torch.sigmoid])
def test_it_is_complete_on_smooth_networks(between: Any, target: Any, baseline: Any, images: Tensor) -> None:
    network = made(Smooth(between))
    values = attribute(network, images, target, method=IntegratedGradients(baseline=baseline)).values
    torch.testing.assert_close(
        values.sum((1, 2, 3)), gained(network, images, target, COLORS[baseline]), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("net", ["functional", "residual", "gap"])
def test_it_is_nearly_complete_on_networks_of_relus(net: str, images: Tensor) -> None:
    network = nets.build(net, torch.float64)
    for k in range(5):
        values = attribute(network, images, k, method=IntegratedGradients(baseline="black")).values
        change = gained(network, images, Logit(k), 0.0)
        torch.testing.assert_close(values.sum((1, 2, 3)), change, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_it_is_exact_on_linear_and_quadratic_networks(steps: int, images: Tensor) -> None:
    linear, method = nets.build("linear", torch.float64), IntegratedGradients(steps=steps, baseline="white")
    weights = linear.module.head.weight.view(5, 3, 32, 32) / 0.25
    values = attribute(linear, images, 3, method=method).values
    torch.testing.assert_close(values, (images - 1) * weights[3], rtol=1e-12, atol=1e-15)
    small = images[:, :, ::8, ::8].contiguous()
    quadratic = made(Quadratic(), 4)
    values = attribute(quadratic, small, 1, method=method).values
    torch.testing.assert_close(values.sum((1, 2, 3)), gained(quadratic, small, Logit(1), 1.0), rtol=1e-11, atol=1e-13)
    # The path integral in closed form: the gradient is linear along the path, so its mean is that at the middle.
    middle = attribute(quadratic, (small + 1) / 2, 1, method="gradient").values
    torch.testing.assert_close(values, (small - 1) * middle, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("net", ["functional", "gap", "residual", "tokens"])
def test_it_equals_captum(net: str, images: Tensor) -> None:
    network = dataclasses.replace(nets.build(net, torch.float64), preprocess=AS_IS)
    ours = attribute(network, images, 2, method=IntegratedGradients(baseline="black")).values
    peer = captum.attr.IntegratedGradients(network.module)
    theirs = peer.attribute(images, baselines=0.0, target=2, n_steps=50, method="gausslegendre")
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_the_note_states_the_completeness(images: Tensor) -> None:
    network = made(Smooth(torch.tanh))
    heatmap = attribute(network, images, 1, method="integrated-gradients")
    change = gained(network, images, Logit(1), 0.5)
    assert heatmap.notes == tuple(
        f"completeness: the map sums to {total:.4g}, the target differs by {gain:.4g} from the baseline"
        for total, gain in zip(heatmap.values.sum((1, 2, 3)).tolist(), change.tolist(), strict=True)
    )
    assert heatmap.unit == "logit"


def test_an_image_equal_to_the_baseline_gets_zero() -> None:
    images = torch.full((1, 3, 32, 32), 0.5, dtype=torch.float64)
    assert not attribute(nets.build("gap", torch.float64), images, 1, method="integrated-gradients").values.any()


# SmoothGrad


def smooth(network: Network, images: Tensor, target: int, method: SmoothGrad) -> Tensor:
    """The mean of plain gradients, one noisy copy at a time."""
    means = []
    for image in images.split(1):
        generator = torch.Generator().manual_seed(method.seed)
        sigma = method.noise * (image.max() - image.min())
        total = torch.zeros_like(image)
        for start in range(0, method.samples, CHUNK):
            count = min(CHUNK, method.samples - start)
            for noise in torch.randn(count, *image.shape[1:], generator=generator).double().split(1):
                x = (image + sigma * noise).requires_grad_()
                total += torch.autograd.grad(network(x)[:, target].sum(), x)[0]
        means.append(total / method.samples)
    return torch.cat(means)


@pytest.mark.parametrize("samples", [1, CHUNK, CHUNK + 3, 20])
def test_it_is_the_mean_of_gradients_at_noisy_copies(samples: int, images: Tensor) -> None:
    network, method = nets.build("residual", torch.float64), SmoothGrad(samples=samples, noise=0.2, seed=4)
    values = attribute(network, images, 1, method=method).values
    torch.testing.assert_close(values, smooth(network, images, 1, method), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("net", ["gap", "linear", "tokens"])
def test_without_noise_it_is_the_gradient(net: str, images: Tensor) -> None:
    network = nets.build(net, torch.float64)
    plain = attribute(network, images, 1, method="gradient").values
    values = attribute(network, images, 1, method=SmoothGrad(samples=10, noise=0.0)).values
    torch.testing.assert_close(values, plain, rtol=1e-12, atol=1e-15)
    flat = torch.full_like(images, 0.3)  # no range, no noise
    torch.testing.assert_close(
        attribute(network, flat, 1, method=SmoothGrad(samples=10)).values,
        attribute(network, flat, 1, method="gradient").values,
        rtol=1e-12,
        atol=1e-15,
    )


def test_on_a_quadratic_network_the_noise_has_the_given_deviation(images: Tensor) -> None:
    """The gradient is linear in the pixels, so that the map shows the mean of the noise itself."""

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**2).sum((1, 2, 3))[:, None] / 2

    network = Network(Square(), AS_IS)
    images = nets.pictures(2)  # a network without weights sees single precision
    spread = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
    for samples in (1, 25, 100):
        noise = attribute(network, images, 0, method=SmoothGrad(samples=samples, noise=0.3)).values - images
        expected = 0.3 * spread / samples**0.5
        torch.testing.assert_close(noise.std((1, 2, 3)), expected, rtol=0.06, atol=0)
        assert (noise.mean((1, 2, 3)).abs() < 4 * expected / 3072**0.5).all()
        torch.testing.assert_close(
            noise[0] / spread[0], noise[1] / spread[1], rtol=1e-3, atol=1e-5
        )  # the same for each


def test_the_seed_is_the_noise(images: Tensor) -> None:
    network = nets.build("gap", torch.float64)
    first, again, other = (
        attribute(network, images, 0, method=SmoothGrad(samples=4, seed=seed)).values for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_more_samples_are_smoother(images: Tensor) -> None:
    network = nets.build("residual", torch.float64)
    maps = [attribute(network, images[:1], 0, method=SmoothGrad(samples=40, seed=seed)).values for seed in range(2)]
    few = [attribute(network, images[:1], 0, method=SmoothGrad(samples=4, seed=seed)).values for seed in range(2)]
    assert (maps[0] - maps[1]).norm() < 0.6 * (few[0] - few[1]).norm()


# Both


@pytest.mark.parametrize(
    ("cls", "options", "text"),
    [
        (SmoothGrad, {"samples": 0}, "samples=0, noise=0.15: want samples ≥ 1 and noise ≥ 0"),
        (SmoothGrad, {"noise": -1.0}, "samples=50, noise=-1.0: want samples ≥ 1 and noise ≥ 0"),
        (IntegratedGradients, {"steps": 0}, "steps=0: want at least 1; 50 is usual"),
    ],
)
def test_options_that_make_no_sense_are_refused(cls: type, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        cls(**options)


@pytest.mark.parametrize("method", [SmoothGrad(samples=CHUNK + 3), IntegratedGradients(steps=2 * CHUNK + 1)])
def test_memory_is_bounded_by_chunks(method: Any, images: Tensor) -> None:
    network = nets.build("gap", torch.float64)
    network.classes  # noqa: B018  a pass of its own
    sizes: list[int] = []
    network.module.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    heatmap = attribute(network, images, 0, method=method)
    assert max(sizes) == CHUNK
    assert sum(sizes) == heatmap.cost.forwards
    assert heatmap.cost.backwards == 2 * (CHUNK + 3 if isinstance(method, SmoothGrad) else 2 * CHUNK + 1)


@pytest.mark.parametrize("method", [InputXGradient, IntegratedGradients])
def test_a_baseline_may_be_a_tensor_or_a_picture(method: Any, images: Tensor, tmp_path: Path) -> None:
    network = nets.build("linear", torch.float64)
    levels = (nets.pictures(1)[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")
    picture = Picture.from_array(levels)
    path = save(tmp_path / "baseline.png", levels)
    start = network.prepare(picture).images
    expected = network(images)[:, 3] - network(start.double())[:, 3]
    for baseline in (start[0], start, picture, str(path)):
        heatmap = attribute(network, images, 3, method=method(baseline=baseline))
        torch.testing.assert_close(heatmap.values.sum((1, 2, 3)), expected, rtol=1e-6, atol=1e-9)
        json.dumps(heatmap.manifest())


def test_a_baseline_of_another_size_is_refused(images: Tensor) -> None:
    with pytest.raises(ImageError, match=r"give one picture, or a tensor \(3, H, W\) of 32 × 32"):
        attribute(nets.build("linear"), images.float(), 3, method=IntegratedGradients(baseline=torch.zeros(3, 8, 8)))
