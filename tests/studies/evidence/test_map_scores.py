"""The sentence on a sanity score changes exactly at its two thresholds."""

from __future__ import annotations

import pytest

from phosphene.studies.evidence.map_scores import MapScores


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.5, "stays much the same"),
        (-0.5, "stays much the same"),
        (0.499, "part of the map stays"),
        (0.201, "part of the map stays"),
        (-0.201, "part of the map stays"),
        (0.2, "is another one"),
        (-0.2, "is another one"),
    ],
)
def test_the_thresholds_belong_to_the_outer_sentences(score: float, words: str) -> None:
    assert words in MapScores(sanity=score).sentence


def test_a_negative_score_has_a_minus_sign_and_zero_none() -> None:
    assert "sanity score −0.30:" in MapScores(sanity=-0.3).sentence
    assert "sanity score 0.00:" in MapScores(sanity=-0.001).sentence
