"""What was measured of maps: words, a table, curves."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from phosphene.attribution.cams.cam import GradCAM
from phosphene.attribution.evaluate.deletion import Curves
from phosphene.attribution.evaluate.sanity import Sanity
from phosphene.core.result import Cost
from phosphene.report.score_charts import charts, comparison
from phosphene.studies.evidence.map_scores import MapScores

SHARES = torch.tensor([0.0, 0.5, 1.0])


def curves(way: str, *values: float) -> Curves:
    by_unit = {"logit": torch.tensor([[9.0, 9.0, 9.0]]), "probability": torch.tensor([values])}
    return Curves(way, "tabby", SHARES, by_unit, "mean", Cost(3))  # type: ignore[arg-type]


def sanity(*absolute: float) -> Sanity:
    left = torch.tensor(absolute)[:, None]
    stages = tuple((i + 1) / len(absolute) for i in range(len(absolute)))
    return Sanity(GradCAM(), "tabby", stages, ("fc",) * len(absolute), left, left, Cost(2))


def test_scores_are_areas_in_probability_and_the_last_stage() -> None:
    pair = curves("deletion", 1.0, 0.5, 0.0), curves("insertion", 0.0, 1.0, 1.0)
    scores = MapScores.of(pair, sanity(0.9, 0.1))
    assert (scores.deletion, scores.insertion, scores.unit) == (0.5, 0.75, "probability")
    assert scores.sanity == pytest.approx(0.1)
    assert scores.pointing is None
    assert MapScores.of() == MapScores()


def test_a_blank_map_has_no_rank_correlation_rather_than_a_perfect_one() -> None:
    scores = MapScores.of(sanity=dataclasses.replace(sanity(0.9, 0.0), notes=("at 1 the map of image 0 is blank",)))
    assert scores.sanity is None
    assert "blank" in scores.notes[0]
    assert MapScores.of(sanity=sanity(0.9, 0.0)).sanity == 0


@pytest.mark.parametrize(
    ("score", "words"),
    [(0.9, "much the same"), (-0.9, "much the same"), (0.3, "part of the map"), (0.05, "another one")],
)
def test_the_verdict_follows_the_score(score: float, words: str) -> None:
    assert words in MapScores(sanity=score).sentence


def test_what_was_not_measured_is_not_judged() -> None:
    assert MapScores(deletion=0.1).sentence == ""
    table = comparison({"a": MapScores(deletion=0.1), "b": MapScores(insertion=0.3)})
    assert [column.title for column in table.columns] == ["Map", "Deletion", "Insertion"]
    assert table.rows == (("a", 0.1, None), ("b", None, 0.3))
    assert table.numeric == (False, True, True)


def test_curves_are_drawn_in_probability_from_0_to_1() -> None:
    pair = curves("deletion", 0.8, 0.5, 0.0), curves("insertion", 0.0, 0.8, 0.9)
    falls, rises = charts({"grad-cam": pair})
    assert "grad-cam goes from 0.8 to 0" in falls.svg
    assert "grad-cam goes from 0 to 0.9" in rises.svg
    assert "probability of tabby" in falls.svg
    whole = charts({"a": (curves("deletion", 1.0, 0.5, 0.0), curves("insertion", 0.0, 0.5, 1.0))})[0].svg
    assert re.search(r'points="[0-9.]+,14 ', whole), "a probability of 1 lies at the top of the chart"
    assert charts({}) == ()
