"""A study of your own, `phosphene study center-share sample:cat sample:coffee --plugin …/center_share.py`."""

import dataclasses

import phosphene as ph


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CenterShares(ph.Result):
    verb: str = "study"
    shares: dict[str, float]

    def facts(self):
        return {"shares": self.shares}

    def lines(self):
        return tuple(f"{name}: {share:.0%} of the map lies in the middle" for name, share in self.shares.items())


@dataclasses.dataclass(frozen=True)
class CenterShare(ph.Study, name="center-share"):
    """Share of each Grad-CAM in the middle half of the picture: 25 % of a map that is the same everywhere."""

    def study(self, network, pictures, *, seed=0, watch=None):  # noqa: ARG002
        maps = {picture.name: ph.attribute(network, picture).values[0, 0] for picture in pictures}
        shares = {name: (values[56:168, 56:168].sum() / values.sum()).item() for name, values in maps.items()}
        return CenterShares(network=network, inputs=tuple(pictures), seed=seed, shares=shares)
