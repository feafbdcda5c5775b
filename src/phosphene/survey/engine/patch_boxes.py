"""What a place of a layer sees, in pixels of the photograph that the network was shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core.networks.network import Box, Network

Numbers = npt.NDArray[Any]


def boxes(  # noqa: PLR0917  the columns of a table
    network: Network, layer: str, rows: Numbers, columns: Numbers, seen: Numbers
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The receptive fields of many places of one layer, each in the pixels of its own photograph.

    An edge at pixel e of an input of H rows lies at top + e · (bottom - top) / H of the photograph, where top and
    bottom are those of the box that the network saw; columns alike. So a field never leaves that box. What the resize
    itself takes from beyond an edge, a pixel or two of the input, is left out.

    Args:
        network: whose fields they are.
        layer: its name; a vector such as "logits" has the place 0, 0.
        rows: (n,) of the maps of the layer.
        columns: (n,) alike.
        seen: (n, 4), top, left, bottom and right of the box of each photograph that the network saw.

    Returns:
        edges (n, 4) in the same order, and whether each is all of `seen`: the field is the whole picture, is not
        known, or holds nothing but padding.
    """
    fields, whole = _fields(network, layer, np.asarray(rows), np.asarray(columns))
    seen = np.asarray(seen, np.float64).reshape(-1, 4)
    corner, size = seen[:, :2], seen[:, 2:] - seen[:, :2]
    scale = np.tile(size / network.preprocess.size, 2)
    return np.where(whole[:, None], seen, np.tile(corner, 2) + fields * scale), whole


def place_box(  # noqa: PLR0917
    network: Network, layer: str, row: int, column: int, seen: Box
) -> tuple[Box, bool]:
    """The receptive field of one place in a photograph, and whether it is all that the network saw; see `boxes`.

    >>> from phosphene.core.networks.network import Box
    >>> place_box(tiny, "features.0", 4, 4, Box(0, 0, 64, 64))
    (Box(top=14.0, left=14.0, bottom=20.0, right=20.0), False)
    """
    edges, whole = boxes(network, layer, np.array([row]), np.array([column]), np.array([seen]))
    return Box(*edges[0].tolist()), bool(whole[0])


def input_box(network: Network, layer: str, row: int, column: int) -> Box:
    """The receptive field of one place in whole pixels of the input of the network.

    >>> input_box(tiny, "features.0", 0, 4)
    Box(top=0, left=7, bottom=2, right=10)
    """
    edges = place_box(network, layer, row, column, Box(0, 0, *network.preprocess.size))[0]
    return Box(*map(int, edges))


def _fields(
    network: Network, layer: str, rows: Numbers, columns: Numbers
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Fields (n, 4) in pixels of the input, and whether each is the whole of it."""
    field = network.receptive_fields.get(layer)
    if field is None:
        return np.zeros((len(rows), 4)), np.ones(len(rows), np.bool_)
    found = field.boxes.numpy()[:, rows, columns].T.astype(np.float64)
    return found, (found == (0, 0, *field.picture)).all(1) | (found[:, 2] <= found[:, 0])
