"""Receptive fields of places of a layer, in pixels of the photograph that the network was shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core.networks.network import Box, Network

Integers = npt.NDArray[Any]


def boxes(  # noqa: PLR0917  the columns of a table
    network: Network, layer: str, rows: Integers, columns: Integers, shown: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The receptive fields of many places of one layer, in the pixels of the photograph of each place.

    An edge at pixel e of an input of H rows lies at top + e · (bottom - top) / H of the photograph, where top and
    bottom are those of the box that the network was shown; columns alike. So a field never leaves that box. The one or
    two pixels that the resize itself reads beyond an edge are left out.

    Args:
        network: whose fields they are.
        layer: its name; a vector such as "logits" has the place 0, 0.
        rows: (n,) of the maps of the layer.
        columns: (n,) alike.
        shown: (n, 4), top, left, bottom and right of the box of each photograph that the network was shown.

    Returns:
        edges (n, 4) in the same order, and whether they are those of `shown`: the field is the whole picture, is not
        known, or holds nothing but padding.
    """
    fields, whole = _fields(network, layer, np.asarray(rows), np.asarray(columns))
    shown = np.asarray(shown, np.float64).reshape(-1, 4)
    corner, size = shown[:, :2], shown[:, 2:] - shown[:, :2]
    scale = np.tile(size / network.preprocess.size, 2)
    return np.where(whole[:, None], shown, np.tile(corner, 2) + fields * scale), whole


def place_box(  # noqa: PLR0917
    network: Network, layer: str, row: int, column: int, shown: Box
) -> tuple[Box, bool]:
    """The receptive field of one place in a photograph, and whether it is all that the network was shown; see `boxes`.

    >>> from phosphene.core.networks.network import Box
    >>> place_box(tiny, "features.0", 4, 4, Box(0, 0, 64, 64))
    (Box(top=14.0, left=14.0, bottom=20.0, right=20.0), False)
    """
    edges, whole = boxes(network, layer, np.array([row]), np.array([column]), np.array([shown]))
    return Box(*edges[0].tolist()), bool(whole[0])


def input_box(network: Network, layer: str, row: int, column: int) -> Box:
    """The receptive field of one place in whole pixels of the input of the network.

    >>> input_box(tiny, "features.0", 0, 4)
    Box(top=0, left=7, bottom=2, right=10)
    """
    edges = place_box(network, layer, row, column, Box(0, 0, *network.preprocess.size))[0]
    return Box(*map(int, edges))


def _fields(
    network: Network, layer: str, rows: Integers, columns: Integers
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Fields (n, 4) in pixels of the input, and whether a field is the whole input."""
    field = network.receptive_fields.get(layer)
    if field is None:
        return np.zeros((len(rows), 4)), np.ones(len(rows), np.bool_)
    edges = field.boxes.numpy()[:, rows, columns].T.astype(np.float64)
    return edges, (edges == (0, 0, *field.picture)).all(1) | (edges[:, 2] <= edges[:, 0])
