"""The interface of a network: its inputs, what is read, and that the module is unchanged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import nets
from phosphene.attribution import attribute
from phosphene.core.errors import ImageError, NetworkError, TargetError
from phosphene.core.networks.network import Network, Preprocess

WHITE = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)


def small(module: nn.Module, **rest: Any) -> Network:
    """A network whose preprocessing changes nothing."""
    return Network(module.eval(), WHITE, **rest)


def called(network: Network) -> list[str]:
    """A list to which the names of all modules that run are appended."""
    seen: list[str] = []
    for name, module in network.module.named_modules():
        module.register_forward_hook(lambda *_, name=name: seen.append(name))
    return seen


# What goes in


def test_a_network_wants_a_module() -> None:
    with pytest.raises(NetworkError, match=r"wants a torch.nn.Module, not function; wrap it"):
        Network(lambda x: x)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (
            torch.rand(3, 32, 32),
            "images are float32 (3, 32, 32); phosphene wants float (N, 3, H, W). Use phosphene.image",
        ),
        (torch.rand(1, 32, 32, 3), "images are float32 (1, 32, 32, 3); phosphene wants float (N, 3, H, W)."),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "images are uint8 (1, 3, 32, 32); phosphene wants float"),
        (torch.full((1, 3, 32, 32), 255.0), "images lie in [255, 255]; phosphene wants RGB in [0, 1]"),
        (torch.full((1, 3, 32, 32), float("nan")), "images lie in [nan, nan]; phosphene wants RGB in [0, 1]"),
        (torch.full((1, 3, 32, 32), 1.004), "images lie in [1.004, 1.004]; phosphene wants RGB in [0, 1]"),
    ],
)
def test_images_that_cannot_be_used_are_refused(images: Tensor, text: str) -> None:
    with pytest.raises(ImageError) as caught:
        nets.build("gap").check(images)
    assert str(caught.value).startswith(text)


def test_normalized_images_are_recognized() -> None:
    images = torch.linspace(-2.1, 2.6, 3 * 32 * 32).view(1, 3, 32, 32)
    with pytest.raises(ImageError) as caught:
        attribute(nets.build("gap"), images, 0)
    assert str(caught.value).startswith(
        "images lie in [-2.1, 2.6]; phosphene wants RGB in [0, 1] and normalizes inside Network. Undo your Normalize"
    )


def test_rounding_errors_of_resizing_are_accepted() -> None:
    images = torch.tensor([-5e-4, 1 + 5e-4, 0.5]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert torch.equal(nets.build("gap").check(images), images)


def test_images_come_at_the_precision_of_the_weights() -> None:
    assert nets.build("gap", torch.float64).check(nets.pictures()).dtype == torch.float64
    assert small(nn.Flatten()).check(nets.pictures()).dtype == torch.float32


def test_images_of_a_size_that_the_network_cannot_take_are_an_error_with_both_sizes() -> None:
    network = nets.build("linear")
    with pytest.raises(ImageError, match=r"linear cannot take images of 16×16.*; it wants 32×32"):
        attribute(network, torch.rand(1, 3, 16, 16), 0, method="gradient")


def test_a_preprocess_of_another_size_is_an_error_that_says_so() -> None:
    linear = dataclasses.replace(nets.build("linear"), preprocess=Preprocess((16, 16)))
    vit = Network(timm.create_model("vit_tiny_patch16_224", img_size=64).eval(), Preprocess((32, 32)), name="vit")
    for network in (linear, vit):
        with pytest.raises(
            NetworkError, match=rf"{network.name} cannot take images of \d+×\d+: .*[^.]; give Network"
        ) as caught:
            network.layers  # noqa: B018
        assert "\n" not in str(caught.value)
        with pytest.raises(NetworkError, match="give Network"):
            network.receptive_fields  # noqa: B018
        with pytest.raises(NetworkError, match="give Network"):
            attribute(network, torch.rand(1, 3, *network.preprocess.size), 0)


def test_a_network_of_grey_pictures_gets_a_hint() -> None:
    grey = Network(nn.Sequential(nn.Conv2d(1, 4, 3)).eval(), Preprocess((28, 28)), name="digits")
    with pytest.raises(NetworkError, match='order="grey"'):
        grey.layers  # noqa: B018


# What is read


def test_logits_come_first_in_tuples_and_mappings() -> None:
    images, gap = nets.pictures(), nets.build("gap")
    expected = gap(images)
    assert expected.shape == (2, 5)
    assert torch.equal(nets.build("tuple")(images), expected)
    for wrap in (lambda y: {"loss": None, "logits": y}, lambda y: [y, y + 1], lambda y: ((None, y),)):
        other = dataclasses.replace(gap, module=_Wrapped(gap.module, wrap))
        assert torch.equal(other(images), expected)
        assert torch.equal(attribute(other, images, 0).values, attribute(gap, images, 0).values)


def test_a_network_that_returns_no_tensor_is_refused() -> None:
    network = Network(_Wrapped(nn.Flatten(), lambda _: {"text": "no"}), WHITE)
    with pytest.raises(NetworkError, match="the module returned dict, which holds no tensor of logits; wrap it"):
        network(nets.pictures())


def test_a_network_can_be_differentiated_by_its_images() -> None:
    network, images = nets.build("gap"), nets.pictures().requires_grad_()
    network(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, attribute(network, images, 0, method="gradient").values)
    assert all(weight.grad is None for weight in network.module.parameters())


# What it says


def test_predictions_are_the_softmax_in_order() -> None:
    network, images = nets.build("gap"), nets.pictures()
    logits = network(images)
    rows = network.predict(images, 3)
    assert [len(row) for row in rows] == [3, 3]
    for row, own in zip(rows, logits, strict=True):
        assert [prediction.index for prediction in row] == own.argsort(descending=True)[:3].tolist()
        assert [prediction.logit for prediction in row] == own.sort(descending=True).values[:3].tolist()
        assert [prediction.probability for prediction in row] == pytest.approx(
            own.softmax(0).sort(descending=True).values[:3].tolist()
        )
        assert all(prediction.label == nets.LABELS[prediction.index] for prediction in row)
    assert [len(row) for row in network.predict(images, 100)] == [5, 5]
    assert network.predict(images)[0][0].index == logits[0].argmax()


def test_a_class_without_a_label_is_called_by_its_index() -> None:
    network = dataclasses.replace(nets.build("gap"), labels=("tabby",))
    assert [network.label(i) for i in (0, 1, 4)] == ["tabby", "1", "4"]


@pytest.mark.parametrize("text", ["tiger cat", "Tiger Cat", "tiger_cat", "  tiger  cat ", "TIGER_CAT"])
def test_labels_are_found_in_any_case_and_with_underscores(text: str) -> None:
    assert nets.build("gap").index(text) == 1


def test_labels_are_found_by_any_of_their_synonyms() -> None:
    network = dataclasses.replace(nets.build("gap"), labels=("tabby, tabby cat", "great white shark, white shark"))
    assert network.index("tabby cat") == 0
    assert network.index("white shark") == 1
    assert network.index("tabby, tabby cat") == 0


@pytest.mark.parametrize(
    ("labels", "label", "text"),
    [
        (nets.LABELS, "crane", "2 classes of gap are called 'crane': 3, 4; give the index instead"),
        (nets.LABELS, "goldfisch", "gap has no class 'goldfisch'; did you mean 'goldfish'?"),
        ((), "cat", "gap has no class 'cat'; it has no labels: give an index"),
    ],
)
def test_labels_that_do_not_name_one_class_are_errors(labels: tuple[str, ...], label: str, text: str) -> None:
    with pytest.raises(TargetError) as caught:
        dataclasses.replace(nets.build("gap"), labels=labels).index(label)
    assert str(caught.value) == text


def test_the_number_of_classes_is_that_of_the_logits() -> None:
    assert nets.build("gap").classes == 5
    assert small(nn.Conv2d(3, 7, 1)).classes == 7


class _Wrapped(nn.Module):
    """A module whose output is wrapped."""

    def __init__(self, module: nn.Module, wrap: Any) -> None:
        super().__init__()
        self.module, self.wrap = module, wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.module(x))


@pytest.mark.parametrize("name", [net for net in nets.NETS if net != "linear"])
def test_stream_gives_the_same_activations_as_tap(name: str) -> None:
    network, images = nets.build(name), nets.pictures(3)
    layers = [*(wanted for wanted, layer in network.layers.items() if layer.layout != "other"), "input", "logits"]
    streamed: dict[str, Tensor] = {}
    network.stream(images, layers, lambda layer, maps: streamed.update({layer: maps.clone()}))
    read = network.tap(images, layers)
    assert streamed.keys() == read.keys()
    assert all(torch.equal(streamed[wanted], read[wanted]) for wanted in layers)


def test_stream_stops_after_the_last_layer() -> None:
    network = nets.build("gap")
    assert "features.2" in network.layers  # traced once, by a pass of its own
    ran = called(network)
    network.stream(nets.pictures(1), ["features.2"], lambda *_: None)
    assert ran == ["features.0", "features.1", "features.2"]


def test_a_replica_shares_weights_and_nothing_else() -> None:
    network = nets.build("residual")
    replica = network.replicate()
    assert replica.module is not network.module
    assert [weight.data_ptr() for weight in replica.module.parameters()] == [
        weight.data_ptr() for weight in network.module.parameters()
    ]
    assert torch.equal(replica(nets.pictures(2)), network(nets.pictures(2)))
    ran = called(network)
    replica(nets.pictures(1))
    assert not ran


def test_a_module_that_cannot_be_copied_has_no_replica() -> None:
    network = nets.build("gap")
    network.module.lock = (nothing for nothing in ())
    with pytest.raises(NetworkError, match=r"cannot be copied for another thread: .*generator"):
        network.replicate()
