"""Backward rules, for every spelling of ReLU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from phosphene.attribution import attribute, attribute_all
from phosphene.attribution.attribution import forward_pass
from phosphene.attribution.gradients.backprop import Deconvnet, Gradient, GuidedBackprop
from phosphene.core.errors import RuleError
from phosphene.core.networks import rules
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel

X = torch.tensor([-2.0, -0.0, 0.0, 0.5, 3.0, 6.0, 7.0], dtype=torch.float64)
G = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0, 4.0, 8.0], dtype=torch.float64)

Spelling = Callable[[Tensor], Tensor]


def _as_statement(in_place: Callable[[Tensor], object]) -> Spelling:
    def spelled(x: Tensor) -> Tensor:
        in_place(x)
        return x

    return spelled


RELU: dict[str, Spelling] = {
    "F.relu": F.relu,
    "F.relu by keyword": lambda x: F.relu(input=x),
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "x.relu": lambda x: x.relu(),
    "x.relu_": lambda x: x.relu_(),
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "nn.Threshold": nn.Threshold(0, 0),
    "F.threshold_": lambda x: F.threshold_(x, 0, 0),
    "hardtanh": lambda x: F.hardtanh(x, 0, float("inf")),
    "statement F.relu_": _as_statement(F.relu_),
    "statement x.relu_": _as_statement(lambda x: x.relu_()),
    "statement nn.ReLU": _as_statement(nn.ReLU(inplace=True)),
}
CLAMP: dict[str, Spelling] = {
    "x.clamp": lambda x: x.clamp(min=0),
    "x.clamp positional": lambda x: x.clamp(0),
    "x.clamp_": lambda x: x.clamp_(min=0.0),
    "torch.clamp": lambda x: torch.clamp(x, min=0),
    "torch.clip": lambda x: torch.clip(x, 0),
    "torch.clip_": lambda x: torch.clip_(x, 0),
    "torch.clamp_min": lambda x: torch.clamp_min(x, 0),
    "x.clamp_min_": lambda x: x.clamp_min_(0),
    "statement x.clamp_": _as_statement(lambda x: x.clamp_(min=0)),
}
RELU6: dict[str, Spelling] = {
    "F.relu6": F.relu6,
    "F.relu6 in place": lambda x: F.relu6(x, inplace=True),
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "hardtanh_": lambda x: F.hardtanh_(x, 0.0, 6.0),
    "nn.Hardtanh": nn.Hardtanh(0, 6),
    "statement nn.ReLU6": _as_statement(nn.ReLU6(inplace=True)),
}
CLAMP6: dict[str, Spelling] = {
    "x.clamp": lambda x: x.clamp(0, 6),
    "x.clamp by keyword": lambda x: x.clamp(max=6, min=0),
    "torch.clip": lambda x: torch.clip(x, 0, 6),
}
ALL = [
    pytest.param(spelling, cap, id=f"{name}{'' if cap == float('inf') else ' to 6'}")
    for spellings, cap in ((RELU | CLAMP, float("inf")), (RELU6 | CLAMP6, 6.0))
    for name, spelling in spellings.items()
]
NOT_RELU: dict[str, Spelling] = {
    "clamp from -1": lambda x: x.clamp(min=-1),
    "clamp from above": lambda x: x.clamp(max=6),
    "clamp by a tensor": lambda x: x.clamp(min=torch.zeros(())),
    "nn.Hardtanh": nn.Hardtanh(),
    "nn.Threshold": nn.Threshold(0.1, 0),
    "nn.Threshold to 1": nn.Threshold(0, 1),
    "nn.LeakyReLU": nn.LeakyReLU(),
    "abs": torch.abs,
}


def _down(spelling: Spelling, mode: rules.backward_rule | None) -> tuple[Tensor, Tensor]:
    """The output, and the gradient with respect to the input."""
    x = X.clone().requires_grad_()
    if mode is None:
        y = spelling(x * 1)
    else:
        with mode:
            y = spelling(x * 1)
    return y.detach(), torch.autograd.grad(y, x, G)[0]


@pytest.mark.parametrize(("spelling", "cap"), ALL)
def test_every_spelling_is_counted_and_follows_the_rule(spelling: Spelling, cap: float) -> None:
    for rule in (rules.guided, rules.deconvnet):
        mode = rules.backward_rule(rule)
        y, g = _down(spelling, mode)
        assert torch.equal(y, X.clamp(0, cap))
        assert mode.met == {"relu": 1}
        assert g.tolist() == rule(X, G).tolist()  # also at and above a cap: what is strongest can be traced back


@pytest.mark.parametrize(("spelling", "cap"), ALL)
def test_the_plain_rule_is_the_derivative_that_torch_has(spelling: Spelling, cap: float) -> None:
    native, ruled = _down(spelling, None), _down(spelling, rules.backward_rule())
    assert torch.equal(ruled[0], native[0])
    assert ruled[1].numpy().tobytes() == native[1].numpy().tobytes()


@pytest.mark.parametrize("spelling", NOT_RELU.values(), ids=NOT_RELU)
def test_what_is_no_relu_stays_as_it_is(spelling: Spelling) -> None:
    mode = rules.backward_rule(rules.deconvnet)
    ours, theirs = _down(spelling, mode), _down(spelling, None)
    assert not mode.met["relu"]
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_rules_at_zero() -> None:
    assert rules.gradient(X, G).tolist() == [0, 0, 0, -1, 2, 4, 8]
    assert rules.deconvnet(X, G).tolist() == [1, 0, 1, 0, 2, 4, 8]
    assert rules.guided(X, G).tolist() == [0, 0, 0, 0, 2, 4, 8]


def test_one_forward_pass_serves_several_rules() -> None:
    x = X.clone().requires_grad_()
    with rules.backward_rule() as mode:
        y = F.relu(x * 1)
    for rule in (rules.guided, rules.deconvnet, rules.gradient, rules.guided):
        mode.rule = rule
        assert torch.equal(torch.autograd.grad(y, x, G, retain_graph=True)[0], rule(X, G))


def test_an_in_place_relu_changes_all_views_of_the_tensor() -> None:
    def twice(x: Tensor) -> Tensor:
        view = x.view(-1)
        return x.relu_() + view  # twice the ReLU, for the view is the same memory

    assert torch.equal(_down(twice, rules.backward_rule())[0], 2 * X.relu())
    assert torch.equal(_down(twice, rules.backward_rule(rules.guided))[1], 2 * rules.guided(X, G))


def test_outside_the_mode_nothing_is_changed() -> None:
    before = F.relu, torch.relu, Tensor.relu
    with rules.backward_rule(rules.deconvnet):
        pass
    assert (F.relu, torch.relu, Tensor.relu) == before
    x = X.clone().requires_grad_()
    assert torch.autograd.grad(F.relu(x), x, G)[0].tolist() == rules.gradient(X, G).tolist()


def test_the_mode_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), rules.backward_rule():
        1 / 0  # noqa: B018
    assert torch._C._len_torch_function_stack() == 0


def test_a_network_without_relu_is_an_error_that_names_its_activations() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=7).eval()
    network = Network(vit, Preprocess((64, 64)), name="vit")
    with pytest.raises(RuleError) as caught:
        attribute(network, torch.rand(1, 3, 64, 64), 0, method="guided-backprop")
    assert str(caught.value) == (
        "guided-backprop met no ReLU in vit (12 GELU): the map would be the plain gradient. Use the method gradient."
    )


def test_a_network_without_any_activation_is_named_alone() -> None:
    with pytest.raises(RuleError, match=r"^deconvnet met no ReLU in linear: the map would be the plain gradient\."):
        attribute(nets.build("linear"), nets.pictures(), 0, method="deconvnet")


def test_only_relus_between_the_target_and_the_pixels_count() -> None:
    network, images = nets.build("gap"), nets.pictures()
    target = Channel("features.0", 3)  # before the first ReLU
    text = "guided-backprop met no ReLU between features.0:3 and the pixels of gap: the map would be the plain gradient"
    with pytest.raises(RuleError, match=text):
        attribute(network, images, target, method="guided-backprop")
    # The same where others share the pass, and it runs on through ReLUs.
    run = forward_pass(network, images, [target, Logit(0)], [Gradient(), GuidedBackprop()])
    with pytest.raises(RuleError, match=text):
        GuidedBackprop().map(run, target)
    assert GuidedBackprop().map(run, Logit(0)).any()


def test_rules_differ_where_they_should() -> None:
    network, images = nets.build("gap"), nets.pictures()
    plain, guided, deconvnet = (
        heatmap.values
        for heatmap in attribute_all(network, images, [Logit(0)], [Gradient(), GuidedBackprop(), Deconvnet()])
    )
    assert not torch.allclose(plain, guided)
    assert not torch.allclose(guided, deconvnet)


def test_the_redirected_rule_differs_only_for_images_with_a_zero_gradient() -> None:
    x = torch.tensor([[-1.0, 2.0], [-1.0, -2.0], [-3.0, -1.0]])
    g = torch.tensor([[5.0, 3.0], [5.0, -3.0], [-1.0, 0.0]])
    assert rules.redirected(x, g).tolist() == [[0, 3], [5, 0], [0, 0]]
