"""The kernels of the first layer as colored pictures."""

import sys

import phosphene as ph
from phosphene.core.images import image


def main(path: str = "first_layer.png") -> None:
    filters = ph.filters(ph.load(), columns=8)
    image.save(path, filters.grid())
    print(f"{len(filters.kernels)} kernels of {filters.layer}; dead: {', '.join(map(str, filters.dead)) or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
