"""The lines by which the library introduces itself, run as they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

import phosphene as ph
from phosphene.zoo.samples import sample


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with cat.jpg in it, where the lines run."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(ph.image(sample("cat")).pixels).save(tmp_path / "cat.jpg", quality=95)
    return tmp_path


def test_maps_of_a_photograph_and_their_report(here: Path) -> None:
    net, cat = ph.load(), ph.image("cat.jpg")
    maps = [
        ph.attribute(net, cat, "tabby - tiger cat", method=m)
        for m in ("grad-cam", "guided-backprop", ph.Occlusion(patch=96, stride=64))
    ]
    ph.report(maps).save("why-tabby/")

    assert [tuple(heatmap.values.shape) for heatmap in maps] == [(1, 1, 224, 224), (1, 3, 224, 224), (1, 1, 224, 224)]
    assert all(heatmap.values.isfinite().all() and heatmap.values.any() for heatmap in maps)
    assert all(str(heatmap.target) == "tabby - tiger cat" for heatmap in maps)
    difference = net(maps[0].images)[0]
    tabby, tiger = net.index("tabby"), net.index("tiger cat")
    for heatmap in maps:
        assert heatmap.scores.item() == pytest.approx((difference[tabby] - difference[tiger]).item(), abs=1e-4)
    assert maps[2].values.min() < 0 < maps[2].values.max()
    page = next((here / "why-tabby").glob("*.html")).read_text("utf-8")
    assert "tabby - tiger cat" in page
    assert 'src="http' not in page


def test_the_cat_is_a_cat_and_the_map_lies_on_it(here: Path) -> None:
    net, cat = ph.load(), ph.image("cat.jpg")
    images, box = net.prepare(cat)
    assert net.predict(images)[0][0].label.startswith(("tabby", "tiger cat", "Egyptian cat"))
    assert box == pytest.approx((18.75, 94.3, 281.25, 356.8), abs=0.5)  # of 300 × 451 pixels
    top = ph.attribute(net, cat, method="grad-cam").values[0, 0]
    rows, columns = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    center = (top * rows).sum() / top.sum(), (top * columns).sum() / top.sum()
    assert 40 < center[0] < 180
    assert 40 < center[1] < 180


def test_a_module_of_ones_own() -> None:
    my_module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    preprocess = ph.Preprocess(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    mine = ph.Network(my_module, preprocess=preprocess, labels=("a", "b"))
    heatmap = ph.attribute(mine, torch.rand(2, 3, 32, 32), "a - b", method=ph.GuidedBackprop())
    assert heatmap.values.shape == (2, 3, 32, 32)
    assert my_module.training


def test_objectives_are_written_as_they_are_meant() -> None:
    net = ph.load()
    joy = ph.Channel("blocks.4", 17) + 0.5 * ph.Logit("goldfish")
    assert str(joy.bind(net)) == "blocks.4:17 + 0.5*goldfish"
    assert ph.parse("blocks.4:17 + 0.5*goldfish", net) == joy.bind(net)


def test_public_names_are_all_there() -> None:
    assert ph.__all__ == sorted(ph.__all__)
    for name in ph.__all__:
        assert getattr(ph, name) is not None
    with pytest.raises(AttributeError, match="module 'phosphene' has no attribute 'atribute'"):
        ph.atribute  # noqa: B018
