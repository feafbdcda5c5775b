"""What the first layer looks for: its kernels as colored pictures."""

import sys

import phosphene as ph
from phosphene.core.images import image


def main(path: str = "first_layer.png") -> None:
    found = ph.filters(ph.load(), columns=8)
    image.save(path, found.grid())
    print(f"{len(found.kernels)} kernels of {found.layer}; dead: {', '.join(map(str, found.dead)) or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
