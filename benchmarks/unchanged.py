"""Maps, surveys and pictures of the embedded network equal those of commit 2a83747.

    git clone . /tmp/old && git -C /tmp/old checkout 2a83747
    PYTHONPATH=/tmp/old/src OMP_NUM_THREADS=1 python benchmarks/unchanged.py record /tmp/then IMAGES
    PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/unchanged.py record /tmp/now IMAGES
    python benchmarks/unchanged.py compare /tmp/then /tmp/now

Record both on the same machine. IMAGES is a folder of photographs, of which 40 are used; names of parts after it, such
as "surveys", record these alone. `compare` prints a line for each item, and ends with 1 if one is missing on a side or
differs by more than 1e-6 of its greatest absolute value. Seconds, paths, hashes and the wording of notes are left out.

What is called otherwise by now is to be changed in "Spellings" alone; the names of the items stay.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import torch

import phosphene as ph

TOLERANCE = 1e-6  # of the greatest absolute value of an item
Facts = dict[Any, Any]  # name → array, number or text, or a mapping or sequence of such


def take(result: Any, wishes: str) -> Facts:
    """Parts of a result by name: "item=path" where the item is called otherwise than its path."""
    return {item: follow(result, path or item) for item, _, path in (wish.partition("=") for wish in wishes.split())}


def follow(value: Any, path: str) -> Any:
    """The attribute at a dotted path, called where it is a method; of a mapping or sequence that of every member."""
    if isinstance(value, Mapping):
        return {key: follow(member, path) for key, member in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [follow(member, path) for member in value]
    name, _, rest = path.partition(".")
    part = getattr(value, name)
    part = part() if callable(part) else part
    return follow(part, rest) if rest else part


# ---- Spellings: all that a later version of phosphene may call otherwise ---------------------------------------------

MIDDLE, SHALLOW, LAST = "blocks.4", "blocks.2", "bn2"
CHANNEL, NEURON, CORNER = "blocks.4:50", "blocks.4:50@7,7", "blocks.4:50@3,3"
TARGETS = {"top": "top", "difference": "tabby - tiger cat", "channel": CHANNEL, "neuron": NEURON}
SMALL, COVERS = {"size": (96, 96)}, {"patch": 64, "stride": 40}
FEWER: Facts = {"occlusion": COVERS, "occlusion-class": COVERS, "rise": {"masks": 32}, "score-cam": {"channels": 8}}
FEWER |= {"smoothgrad": {"samples": 5}, "integrated-gradients": {"steps": 5}}
UNTOLD = {"source", "sha256", "error"}  # columns of a survey that tell of files

OF_PREDICTION = "predictions.index predictions.label predictions.probability predictions.logit"
OF_EXPLANATION = f"{OF_PREDICTION} boxes cutout.mask heatmaps.values activations.values curves.values sanity.absolute"
OF_TRUST = "method deletion insertion pointing2 pointing3 sanity covering pictures"
OF_FILTERS = "weights pictures grid duplicates.first duplicates.cosine kernels.norm kernels.twin kernels.cosine"
OF_ANSWERS = "values order pictures grid responses.max responses.mean responses.active"
OF_CLASS = "images layer logit bias contributions.channel contributions.value selective.selectivity"
OF_UNIT = "facts context classes drift projections.values levels.low levels.high levels.images"
OF_SHOT = "image=patch.image activation=patch.activation box=patch.box crop"
OF_PICTURE = f"images=synthesis.images scores=synthesis.scores activations ranks names {OF_PREDICTION}"


def begun(folder: Path) -> tuple[Any, list[Any]]:
    """The network, and 40 photographs from all over a folder."""
    return ph.load(), [ph.image(path) for path in sorted(folder.iterdir())[::12][:40]]


def seen(network: Any, pictures: list[Any]) -> Any:
    return torch.cat([network.prepare(picture).images for picture in pictures])


def methods() -> dict[str, Any]:
    """Every registered attribution method, the expensive ones with fewer steps; those with a layer also at ours."""
    known: dict[str, Any] = {}
    for name, kind in sorted(ph.Attribution.table.items()):
        own = FEWER.get(name, {})
        known[name] = kind(**own)
        if hasattr(kind, "layer"):
            own = {**own, "layer": LAST if name == "cam" else SHALLOW}
            known[f"{name} at a layer"] = kind(**own, **({"rectify": False} if hasattr(kind, "rectify") else {}))
    return known


def maps(network: Any, pictures: list[Any]) -> Facts:
    images, drawn, wanted = [seen(network, [picture]) for picture in pictures[:2]], {}, "values scores layer unit"
    for name, method in methods().items():
        for kind, target in list(TARGETS.items())[: 2 if name.startswith("cam") else None]:  # CAM knows classes alone
            one_by_one = [ph.attribute(network, image, target, method=method) for image in images]
            drawn[f"{name}/{kind}"] = take(one_by_one, wanted)
    targets = [ph.parse(target, network) for target in ("tench", "tabby - tiger cat", CHANNEL)]
    fitting = [method for method in methods().values() if not isinstance(method, ph.CAM)]
    return {**drawn, "all": take(ph.attribute_all(network, torch.cat(images), targets, fitting), wanted)}


def explanations(network: Any, pictures: list[Any]) -> Facts:
    plain = [method for method in methods().values() if not getattr(method, "layer", None)]
    plan = sys.modules[ph.explain.__module__].Plan.of(network, plain, layers=("blocks.1", MIDDLE), steps=5)
    rows = ph.trust(network, seen(network, pictures[:9]), ["grad-cam", "gradient"], confidence=0.1)
    return {**take(ph.explain(network, pictures[2], plan=plan), OF_EXPLANATION), "trust": take(rows, OF_TRUST)}


def weights(network: Any, pictures: list[Any]) -> Facts:
    """Layers, receptive fields, kernels and activations."""
    layers, fields = list(network.layers.values()), [field for field in network.fields.values() if field is not None]
    images, filtered = seen(network, [pictures[3]]), (None, "blocks.1.0.conv_pw", "blocks.3.0.conv_dw")
    return {
        "layers": {**take(layers, "name kind layout parameters"), "shape": [str(layer.shape) for layer in layers]},
        "fields": {name: np.array(values) for name, values in take(fields, "size stride start whole").items()},
        "boxes": torch.cat([field.boxes.flatten() for field in fields]),
        "filters": {layer: take(ph.filters(network, layer, threshold=0.6), OF_FILTERS) for layer in filtered},
        "activations": [take(ph.activations(network, images, layer), OF_ANSWERS) for layer in (MIDDLE, "global_pool")],
    }


def surveys(network: Any, pictures: list[Any]) -> Facts:
    """A survey with every accumulator and a small one with labels, and what is read from the first."""
    everything = (ph.TopPatches(6), ph.Moments(), ph.Sparsity(), ph.DeadUnits(), ph.Histogram(), ph.Samples())
    everything = (*everything, ph.ClassSelectivity(), ph.Embeddings(), ph.CoActivation())
    with TemporaryDirectory() as folder:
        run = ph.survey(network, [picture.path for picture in pictures], Path(folder) / "run", everything, workers=1)
        table, lines = Path(folder) / "labels.csv", [f"{picture.path},{len(picture.name) % 3}" for picture in pictures]
        table.write_text("\n".join(["path,label", *lines[:9]]))
        labelled = ph.survey(network, table, Path(folder) / "labelled", everything, layers=[SHALLOW], workers=1)
        return {"tables": tables(run), "labelled": tables(labelled), **readings(network, run)}


def tables(run: Any) -> Facts:
    """Every array of a run and every column of its tables."""
    columns = {str(path.relative_to(run.folder).with_suffix("")): np.load(path) for path in run.folder.rglob("*.npy")}
    for path in run.folder.glob("*.parquet"):
        rows = duckdb.read_parquet(str(path)).fetchnumpy()
        columns |= {f"{path.stem}/{name}": np.asarray(rows[name]) for name in rows.keys() - UNTOLD}
    return columns


def readings(network: Any, run: Any) -> Facts:
    units = {target: ph.unit(network, run, target, k=3) for target in (CHANNEL, "blocks.1:3", "logits:96")}
    shots = [(*unit.top, *unit.weakest, *unit.random, *follow(unit, "levels.shot")) for unit in units.values()]
    targets = [ph.parse(target, network) for target in (CHANNEL, "toucan", "blocks.3:7")]
    speaking, kinds = ph.class_units(network, run, "toucan", k=4), ph.facets(run, network, targets[0], 2)
    started = ph.visualize(network, CHANNEL, manner=ph.Best(steps=4), starts=kinds.starts, **SMALL)
    checked = ph.plate(network, run, SHALLOW, "random:3", k=2, side=64, check=True)
    exact = ph.plate(network, run, "blocks.1", (2, 5), k=2, side=64, field="exact", method="guided-backprop")
    near = [ph.neighbors(run, 0, 6, metric=metric) for metric in ("l2", "cosine")]
    vectors, ways = np.array(run.embeddings), ["pca", "t-sne", *(["umap"] if importlib.util.find_spec("umap") else [])]
    scatters = {way: ph.embedding_map(vectors, method=way, labels=["odd", "even"] * 20) for way in ways}
    return {
        "unit": {**take(units, OF_UNIT), "shots": take(shots, OF_SHOT)},
        "plate": {**take([checked, exact], "picture panels.channel"), "check": take(checked, "panels.hiding.fall")},
        "near": take(near, "features.image features.distance pixels.image pixels.distance"),
        "scatters": take(scatters, "coordinates agreement picture"),
        "placed": [scatter.place(1.05 * vectors[:2].astype(np.float32)) for scatter in scatters.values()],
        "class": {**take(speaking, OF_CLASS), **take([row.shots for row in speaking.contributions], OF_SHOT)},
        "facets": {**take(kinds, "facets.label facets.start facets.images"), **take(started, OF_PICTURE)},
        "natural": take(ph.natural(run, network, targets), "images quantile level most"),
        "belief": take(ph.believe(network, started, source=run), "reached"),
    }


def visualizations(network: Any, _: list[Any]) -> Facts:
    four, two = ["goldfish", "toucan", CHANNEL, CORNER], ["toucan", CHANNEL]
    strengths = {"l2": 2.0, "decay": 0.01, "blur": 0.8, "clip_norm": 0.2, "clip_contribution": 0.2}
    asked: Mapping[str, tuple[Any, Any, Facts]] = {
        "best": (four, ph.Best(steps=12), SMALL),
        "maco": (two, ph.Best(steps=8, canvas="maco"), SMALL),
        "pyramid": (two, ph.Best(steps=8, canvas="pyramid"), SMALL),
        "lecture": (four, ph.Lecture(steps=12, start="noise", **strengths), SMALL),
        "diverse": (two, ph.Best(steps=6), {**SMALL, "each": 2}),
        "windows": (["blocks.1.0:5", "blocks.1.1:3@10,10"], ph.Best(steps=6), {}),
        "sums": (["goldfish - 0.5*toucan", f"{CHANNEL}@max"], ph.Lecture(steps=5), {**SMALL, "seed": 5}),
    }
    made = {name: ph.visualize(network, wanted, manner=how, **more) for name, (wanted, how, more) in asked.items()}
    sheet = ph.ablate(network, ["goldfish", CHANNEL], manner=ph.Lecture(steps=4), **SMALL)
    return {**take({**made, **sheet.columns}, OF_PICTURE), **take(sheet, "roughness picture")}


def dreams(network: Any, pictures: list[Any]) -> Facts:
    short, size = {"octaves": 2, "steps": 3}, {"size": (120, 150)}
    asked: Mapping[str, tuple[Any, Facts]] = {
        "default": (ph.Dream(**short), {}),
        "guide": (ph.Dream(**short), {"guide": pictures[5]}),
        "channel": (ph.Dream((MIDDLE,), 50, **short), {}),
        "layers": (ph.Dream((SHALLOW, MIDDLE), smooth=0, **short), {}),
        "target": (ph.Dream(**short), {"target": "toucan", "seed": 2}),
    }
    made = {name: ph.dream(network, pictures[4], how=how, **size, **more) for name, (how, more) in asked.items()}
    film = list(ph.zoom(network, pictures[4], frames=2, how=ph.Dream(**short), **size))
    return {**take(made, "images scores sizes"), "zoom": film}


def inversions(network: Any, pictures: list[Any]) -> Facts:
    how = {canvas: ph.Invert(coarse=3, steps=8, finish=3, canvas=canvas) for canvas in ("fourier", "pixels")}
    asked = (("blocks.1", "fourier"), (MIDDLE, "fourier"), (MIDDLE, "pixels"), ("logits", "fourier"))
    made = [ph.invert(network, pictures[6], layer, seeds=2, how=how[canvas], **SMALL) for layer, canvas in asked]
    return take(made, f"images original scores errors unrelated psnr ssim {OF_PREDICTION}")


def syntheses(network: Any, pictures: list[Any]) -> Facts:
    """The loop itself, with canvases, transforms, edits, penalties and optimizers of its own."""
    unit, both = ph.Channel(MIDDLE, 50), [ph.Channel(MIDDLE, 50), ph.Logit("goldfish")]
    moves = (ph.Pad(8), ph.Affine(), ph.ColorShift(), ph.Flip(), ph.Crops(2, 0.5, noise=0.02))
    edits = {"edits": (ph.Decay(), ph.Blur(0.7, 2), ph.ClipNorm(0.2), ph.ClipContribution(0.2)), **SMALL}
    penalized = ph.ChannelMax(MIDDLE, 50) - 20 * ph.L2() - 200 * ph.TotalVariation(1.5) - ph.BatchNormStatistics()
    fooled = {"start": seen(network, [pictures[7]]), "optimizer": ph.Ascent(sign=True)}
    made = {  # of 18 steps, since from 16 on the network is folded
        "moved": ph.synthesize(network, both, transforms=moves, steps=18, redirect=4, **SMALL),
        "edited": ph.synthesize(network, unit, ph.Pixels("noise"), optimizer=ph.Ascent(), steps=8, **edits),
        "lbfgs": ph.synthesize(network, unit, optimizer=ph.LBFGS(), steps=5, **SMALL),
        "penalized": ph.synthesize(network, penalized, ph.Fourier(1.2), steps=6, **SMALL),
        "perturbed": ph.synthesize(network, ph.Probability("goldfish"), ph.Perturbation(), steps=4, **fooled),
    }
    return take(made, "images scores")


PARTS = (maps, explanations, weights, surveys, visualizations, dreams, inversions, syntheses)

# ---- Recording and comparing -----------------------------------------------------------------------------------------


def items(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The arrays, numbers and texts in nested facts, each under a name of its own."""
    value = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    if isinstance(value, list | tuple) and not all(isinstance(member, str) for member in value):
        numbers = all(isinstance(member, int | float) for member in value)
        value = np.array(value) if numbers else dict(enumerate(value))
    if isinstance(value, np.ndarray) and value.dtype == object:
        texts, numbers = np.unique(value.astype(str), return_inverse=True)
        value = {"numbers": numbers, "texts": texts.tolist()}
    if not isinstance(value, Mapping):
        yield name, value.item() if isinstance(value, np.generic) else value
        return
    for key, member in value.items():
        yield from items(f"{name}/{key}", member)


def record(folder: Path, images: Path, chosen: list[str]) -> None:
    """Write the items of all parts, or of those that were chosen."""
    print(f"{ph.__file__} → {folder}")
    facts, (network, pictures) = {}, begun(images)
    for part in [part for part in PARTS if part.__name__ in chosen or not chosen]:
        for name, value in items(part.__name__, part(network, pictures)):
            if isinstance(value, np.ndarray):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{name}.npy", value, allow_pickle=False)
            else:
                facts[name] = value
        print(f"{part.__name__}: {time.process_time():.0f} s of the processor so far", flush=True)
    (folder / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True))


def verdict(before: Any, after: Any) -> tuple[str, bool]:
    """What to say of two arrays, and whether they count as equal."""
    if all(ask(before) == ask(after) for ask in (np.shape, np.result_type, np.ndarray.tobytes)):
        return "same bytes", True
    if before.shape != after.shape or {before.dtype.kind, after.dtype.kind} & set("UO"):
        return " → ".join(" ".join(f"{side.shape} {side}".split())[:80] for side in (before, after)), False
    before, after = before.astype(np.float64), after.astype(np.float64)
    apart = ~((before == after) | (np.isnan(before) & np.isnan(after)))
    absolute = float(np.nan_to_num(np.abs(before - after), nan=np.inf)[apart].max(initial=0.0))
    relative = absolute / max(np.abs(before[np.isfinite(before)]).max(initial=0.0), sys.float_info.min)
    return f"{absolute:.3g}, {relative:.3g} of the greatest", relative <= TOLERANCE


def compare(*folders: Path) -> int:
    """Print a line for each item; 1 if one is missing or differs."""
    old, new = (
        {str(path.relative_to(folder)): np.load(path) for path in folder.rglob("*.npy")}
        | {name: np.array(fact) for name, fact in json.loads((folder / "facts.json").read_text()).items()}
        for folder in folders
    )
    names, wrong, missing = sorted(old.keys() | new.keys()), 0, np.array("missing")
    for name in names:
        told, equal = verdict(old.get(name, missing), new.get(name, missing))
        wrong += not equal
        print(f"{name}: {told}{'' if equal else '  DIFFERS'}")
    print(f"{wrong} of {len(names)} items differ")
    return int(wrong > 0)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record", folder, images, *chosen]:
            record(Path(folder), Path(images), chosen)
        case ["compare", old, new]:
            sys.exit(compare(Path(old), Path(new)))
        case _:
            sys.exit(__doc__)
