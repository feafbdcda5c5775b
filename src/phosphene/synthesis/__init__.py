"""Which image? Pictures that a network, or a part of it, responds to most."""
