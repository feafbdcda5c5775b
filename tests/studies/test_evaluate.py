"""Scores of methods side by side."""

from __future__ import annotations

import numpy as np

import nets
from phosphene.studies.evaluate import evaluate


def test_each_method_is_scored_on_all_pictures_best_insertion_first() -> None:
    network, images = nets.build("gap"), nets.pictures(3)
    evaluation = evaluate(network, images, ["gradient", "grad-cam"], target="goldfish")
    rows = evaluation.rows
    assert {row.method for row in rows} == {"gradient", "grad-cam"}
    assert rows[0].insertion >= rows[1].insertion
    assert all(row.pictures == 3 for row in rows)
    assert all(0 <= row.deletion <= 1 and 0 <= row.covering <= 1 for row in rows)
    assert [len(row) for row in evaluation.table.rows] == [7, 7]
    assert evaluation.table["insertion"].tolist() == [row.insertion for row in rows]
    assert np.isnan(evaluation.table["pointing 2×2"]).all()
    assert [row["method"] for row in evaluation.facts()["results"]] == [row.method for row in rows]


def test_what_cannot_be_measured_is_none_with_its_reason() -> None:
    (row,) = evaluate(nets.build("linear"), nets.pictures(1), ["grad-cam"]).rows
    assert row.insertion is None
    assert row.pictures == 0
    assert any("keeps a map" in note for note in row.notes)


def test_the_same_seed_gives_the_same_scores() -> None:
    network, images = nets.build("residual"), nets.pictures(2)
    first, second = (evaluate(network, images, ["gradient"], target="tabby", seed=5).rows for _ in range(2))
    assert (first[0].sanity, first[0].covering) == (second[0].sanity, second[0].covering)
