"""Maps, surveys and pictures of the embedded network equal those of commit 2a83747.

    git clone . ../old && git -C ../old checkout 2a83747
    PYTHONPATH=../old/src OMP_NUM_THREADS=1 python benchmarks/unchanged.py record ../old-record IMAGES
    PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/unchanged.py record ../new-record IMAGES
    python benchmarks/unchanged.py compare ../old-record ../new-record

Record both on the same machine. IMAGES is a folder of photographs, of which 40 are used. Names of parts after it, such
as "surveys", record these alone, beside the parts that are there. `compare` prints a line for each item, and ends with
1 if one is missing on a side or differs by more than 1e-6 of its largest absolute value. Seconds, paths, hashes and the
wording of notes are not compared. Items have the names of 2a83747.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import torch

import phosphene as ph
from phosphene.studies.facets import facets
from records import Facts, compare, follow, write

OLD = hasattr(ph, "trust")  # as in 2a83747
if OLD:
    reference_levels, verdicts = ph.natural, ph.believe
    assert ph.CoActivation  # imported so that it is registered
else:
    from phosphene.studies.evidence.reference_levels import reference_levels
    from phosphene.studies.evidence.verdict import verdicts


def take(result: Any, parts: str) -> Facts:
    """Parts of a result, by the names of their items.

    "item=path" where an item is called otherwise than its path, "item=path|path" where the path was another in 2a83747.
    """
    values = {}
    for item, _, paths in (part.partition("=") for part in parts.split()):
        path, _, old = (paths or item).partition("|")
        values[item] = follow(result, old if OLD and old else path)
    return values


MIDDLE, SHALLOW, LAST = "blocks.4", "blocks.2", "bn2"
CHANNEL, NEURON, CORNER = "blocks.4:50", "blocks.4:50@7,7", "blocks.4:50@3,3"
TARGETS = {"top": "top", "difference": "tabby - tiger cat", "channel": CHANNEL, "neuron": NEURON}
SMALL, COVERS = {"size": (96, 96)}, {"patch": 64, "stride": 40}
CHEAP: Facts = {"occlusion": COVERS, "occlusion-class": COVERS, "rise": {"masks": 32}, "score-cam": {"channels": 8}}
CHEAP |= {"smoothgrad": {"samples": 5}, "integrated-gradients": {"steps": 5}}
OF_FILES = {"source", "sha256", "error"}  # columns of a survey

PRESET, RECIPE, DIVERSE = ("manner", "how", "each") if OLD else ("preset", "recipe", "diverse")
REDIRECT, EDITS = ("redirect", "edits") if OLD else ("redirect_steps", "pixel_regularizers")

PREDICTION = "predictions.index predictions.label predictions.probability predictions.logit"
RECOGNIZED = " ".join(f"{part}={part.replace('predictions', 'recognized')}|{part}" for part in PREDICTION.split())
EXPLANATION = f"{PREDICTION} boxes cutout.mask heatmaps.values activations.values curves.values sanity.absolute"
SCORES = "method deletion insertion pointing2 pointing3 sanity covering pictures"
FILTERS = "weights pictures=scaled|pictures grid duplicates.first duplicates.cosine kernels.norm"
FILTERS += " kernels.twin=kernels.most_similar|kernels.twin kernels.cosine"
ACTIVATIONS = "values order pictures=scaled|pictures grid responses.max responses.mean responses.active"
CLASS = "images layer logit bias contributions.channel contributions.value selective.selectivity"
UNIT = "facts=row|facts context classes drift projections.values levels.low levels.high levels.images"
PATCH = "image=patch.image activation=patch.activation box=patch.box crop"
FALL = "panels.hiding.fall=panels.covering.relative_fall|panels.hiding.fall"
PICTURES = f"images=images|synthesis.images scores=scores|synthesis.scores activations ranks names {RECOGNIZED}"
INVERSION = f"images original scores errors=reconstruction_errors|errors unrelated psnr ssim {RECOGNIZED}"


def setup(folder: Path) -> tuple[Any, list[Any]]:
    """The network, and 40 photographs from all over a folder."""
    return ph.load(), [ph.image(path) for path in sorted(folder.iterdir())[::12][:40]]


def prepared(network: Any, pictures: list[Any]) -> Any:
    return torch.cat([network.prepare(picture).images for picture in pictures])


def methods() -> dict[str, Any]:
    """Every registered attribution method, the expensive ones with fewer steps; those with a layer also at ours."""
    chosen: dict[str, Any] = {}
    for name, kind in sorted(ph.Attribution.table.items()):
        options = CHEAP.get(name, {})
        chosen[name] = kind(**options)
        if hasattr(kind, "layer"):
            options = {**options, "layer": LAST if name == "cam" else SHALLOW}
            signed = {"rectify": False} if hasattr(kind, "rectify") else {}
            chosen[f"{name} at a layer"] = kind(**options, **signed)
    return chosen


def maps(network: Any, pictures: list[Any]) -> Facts:
    images, heatmaps, parts = [prepared(network, [picture]) for picture in pictures[:2]], {}, "values scores layer unit"
    for name, method in methods().items():
        for kind, target in list(TARGETS.items())[: 2 if name.startswith("cam") else None]:  # CAM takes classes alone
            one_by_one = [ph.attribute(network, image, target, method=method) for image in images]
            heatmaps[f"{name}/{kind}"] = take(one_by_one, parts)
    targets = [ph.parse(target, network) for target in ("tench", "tabby - tiger cat", CHANNEL)]
    fitting = [method for method in methods().values() if not isinstance(method, ph.CAM)]
    return {**heatmaps, "all": take(ph.attribute_all(network, torch.cat(images), targets, fitting), parts)}


def explanations(network: Any, pictures: list[Any]) -> Facts:
    chosen = [method for method in methods().values() if not getattr(method, "layer", None)]
    layers, images, scored = ("blocks.1", MIDDLE), prepared(network, pictures[:9]), ["grad-cam", "gradient"]
    if OLD:
        plan = sys.modules[ph.explain.__module__].Plan.of(network, chosen, layers=layers, steps=5)
        explanation = ph.explain(network, pictures[2], plan=plan)
        rows = ph.trust(network, images, scored, confidence=0.1)
    else:
        explanation = ph.explain(network, pictures[2], methods=chosen, layers=layers, steps=5)
        rows = ph.evaluate(network, images, scored, confidence=0.1).rows
    return {**take(explanation, EXPLANATION), "trust": take(rows, SCORES)}


def weights(network: Any, pictures: list[Any]) -> Facts:
    """Layers, receptive fields, kernels and activations."""
    layers, fields = list(network.layers.values()), network.fields if OLD else network.receptive_fields
    known, images = [field for field in fields.values() if field is not None], prepared(network, [pictures[3]])
    convolutions = (None, "blocks.1.0.conv_pw", "blocks.3.0.conv_dw")
    return {
        "layers": {**take(layers, "name kind layout parameters"), "shape": [str(layer.shape) for layer in layers]},
        "fields": {name: np.array(values) for name, values in take(known, "size stride start whole").items()},
        "boxes": torch.cat([field.boxes.flatten() for field in known]),
        "filters": {layer: take(ph.filters(network, layer, threshold=0.6), FILTERS) for layer in convolutions},
        "activations": [take(ph.activations(network, images, layer), ACTIVATIONS) for layer in (MIDDLE, "global_pool")],
    }


def surveys(network: Any, pictures: list[Any]) -> Facts:
    """A survey with every accumulator and a small one with labels, and what is read from the first."""
    names = ("moments", "sparsity", "dead-units", "histogram", "samples", "class-selectivity", "embeddings")
    everything = [ph.TopPatches(6), *(ph.Accumulator.find(name)() for name in (*names, "co-activation"))]
    with TemporaryDirectory() as folder:
        run = ph.survey(network, [picture.path for picture in pictures], Path(folder) / "run", everything, workers=1)
        table, lines = Path(folder) / "labels.csv", [f"{picture.path},{len(picture.name) % 3}" for picture in pictures]
        table.write_text("\n".join(["path,label", *lines[:9]]))
        labeled = ph.survey(network, table, Path(folder) / "labeled", everything, layers=[SHALLOW], workers=1)
        return {"tables": tables(run), "labelled": tables(labeled), **readings(network, run)}


def tables(run: Any) -> Facts:
    """Every array of a run and every column of its tables."""
    columns = {str(path.relative_to(run.folder).with_suffix("")): np.load(path) for path in run.folder.rglob("*.npy")}
    for path in run.folder.glob("*.parquet"):
        rows = duckdb.read_parquet(str(path)).fetchnumpy()
        columns |= {f"{path.stem}/{name}": np.asarray(rows[name]) for name in rows.keys() - OF_FILES}
    return columns


def readings(network: Any, run: Any) -> Facts:
    units = {target: ph.unit(network, run, target, k=3) for target in (CHANNEL, "blocks.1:3", "logits:96")}
    level, patches = ("levels.shot", "shots") if OLD else ("levels.patch", "patches")
    shown = [(*unit.top, *unit.weakest, *unit.random, *follow(unit, level)) for unit in units.values()]
    targets = [ph.parse(target, network) for target in (CHANNEL, "toucan", "blocks.3:7")]
    of_class, kinds = ph.class_units(network, run, "toucan", k=4), facets(run, network, targets[0], 2)
    by_facet = ph.visualize(network, CHANNEL, **{PRESET: ph.Best(steps=4)}, starts=kinds.starts, **SMALL)
    checked = ph.plate(network, run, SHALLOW, "random:3", k=2, side=64, check=True)
    exact = ph.plate(network, run, "blocks.1", (2, 5), k=2, side=64, field="exact", method="guided-backprop")
    near = [ph.neighbors(run, 0, 6, metric=metric) for metric in ("l2", "cosine")]
    vectors, names = np.array(run.embeddings), ["pca", "t-sne", *(["umap"] if importlib.util.find_spec("umap") else [])]
    scatters = {name: ph.embedding_map(vectors, method=name, labels=["odd", "even"] * 20) for name in names}
    levels = reference_levels(run, network, targets)
    return {
        "unit": {**take(units, UNIT), "shots": take(shown, PATCH)},
        "plate": {**take([checked, exact], "picture panels.channel"), "check": take(checked, FALL)},
        "near": take(near, "features.image features.distance pixels.image pixels.distance"),
        "scatters": take(scatters, "coordinates agreement picture"),
        "placed": [scatter.place(1.05 * vectors[:2].astype(np.float32)) for scatter in scatters.values()],
        "class": {**take(of_class, CLASS), **take(follow(of_class.contributions, patches), PATCH)},
        "facets": {**take(kinds, "facets.label facets.start facets.images"), **take(by_facet, PICTURES)},
        "natural": take(levels if OLD else levels.levels, "images quantile level most=maximum|most"),
        "belief": take(verdicts(network, by_facet, source=run), "reached=peak|reached"),
    }


def visualizations(network: Any, _: list[Any]) -> Facts:
    four, two = ["goldfish", "toucan", CHANNEL, CORNER], ["toucan", CHANNEL]
    strengths = {"l2": 2.0, "decay": 0.01, "blur": 0.8, "clip_norm": 0.2, "clip_contribution": 0.2}
    calls: Mapping[str, tuple[Any, Any, Facts]] = {
        "best": (four, ph.Best(steps=12), SMALL),
        "maco": (two, ph.Best(steps=8, canvas="maco"), SMALL),
        "pyramid": (two, ph.Best(steps=8, canvas="pyramid"), SMALL),
        "lecture": (four, ph.Lecture(steps=12, start="noise", **strengths), SMALL),
        "diverse": (two, ph.Best(steps=6), {**SMALL, DIVERSE: 2}),
        "windows": (["blocks.1.0:5", "blocks.1.1:3@10,10"], ph.Best(steps=6), {}),
        "sums": (["goldfish - 0.5*toucan", f"{CHANNEL}@max"], ph.Lecture(steps=5), {**SMALL, "seed": 5}),
    }
    results = {
        name: ph.visualize(network, targets, **{PRESET: preset}, **options)
        for name, (targets, preset, options) in calls.items()
    }
    sheet = ph.ablate(network, ["goldfish", CHANNEL], **{PRESET: ph.Lecture(steps=4)}, **SMALL)
    return {**take({**results, **sheet.columns}, PICTURES), **take(sheet, "roughness picture")}


def dreams(network: Any, pictures: list[Any]) -> Facts:
    short: Facts = {"octaves": 2, "steps": 3}
    calls: Mapping[str, tuple[Any, Facts]] = {
        "default": (ph.Dream(**short), {}),
        "guide": (ph.Dream(**short), {"guide": pictures[5]}),
        "channel": (ph.Dream((MIDDLE,), 50, **short), {}),
        "layers": (ph.Dream((SHALLOW, MIDDLE), smooth=0, **short), {}),
        "target": (ph.Dream(**short), {"target": "toucan", "seed": 2}),
    }
    results = {
        name: ph.dream(network, pictures[4], size=(120, 150), **{RECIPE: recipe}, **options)
        for name, (recipe, options) in calls.items()
    }
    film = ph.zoom(network, pictures[4], frames=2, size=(120, 150), **{RECIPE: ph.Dream(**short)})
    return {**take(results, "images scores sizes"), "zoom": list(film)}


def inversions(network: Any, pictures: list[Any]) -> Facts:
    results = []
    for layer, canvas in (("blocks.1", "fourier"), (MIDDLE, "fourier"), (MIDDLE, "pixels"), ("logits", "fourier")):
        recipe = ph.Invert(coarse=3, steps=8, finish=3, canvas=canvas)
        results.append(ph.invert(network, pictures[6], layer, seeds=2, **{RECIPE: recipe}, **SMALL))
    return take(results, INVERSION)


def syntheses(network: Any, pictures: list[Any]) -> Facts:
    """The loop itself, with canvases, transforms, pixel regularizers, penalties and optimizers of its own."""
    unit, both = ph.Channel(MIDDLE, 50), [ph.Channel(MIDDLE, 50), ph.Logit("goldfish")]
    known = sys.modules[ph.Affine.__module__]
    transforms = (known.Pad(8), ph.Affine(), known.ColorShift(), known.Flip(), ph.Crops(2, 0.5, noise=0.02))
    edits = {EDITS: (ph.Decay(), ph.Blur(0.7, 2), ph.ClipNorm(0.2), ph.ClipContribution(0.2)), **SMALL}
    penalized = ph.ChannelMax(MIDDLE, 50) - 20 * ph.L2() - 200 * ph.TotalVariation(1.5) - ph.BatchNormStatistics()
    start = {"start": prepared(network, [pictures[7]]), "optimizer": ph.Ascent(sign=True)}
    results = {  # of 18 steps, since from 16 on batch norms are fused
        "moved": ph.synthesize(network, both, transforms=transforms, steps=18, **{REDIRECT: 4}, **SMALL),
        "edited": ph.synthesize(network, unit, ph.Pixels("noise"), optimizer=ph.Ascent(), steps=8, **edits),
        "lbfgs": ph.synthesize(network, unit, optimizer=ph.LBFGS(), steps=5, **SMALL),
        "penalized": ph.synthesize(network, penalized, ph.Fourier(1.2), steps=6, **SMALL),
        "perturbed": ph.synthesize(network, ph.Probability("goldfish"), ph.Perturbation(), steps=4, **start),
    }
    return take(results, "images scores")


PARTS = (maps, explanations, weights, surveys, visualizations, dreams, inversions, syntheses)


def record(folder: Path, images: Path, chosen: list[str]) -> None:
    """Write the items of all parts, or of those that were chosen."""
    print(f"{ph.__file__} → {folder}")
    network, pictures = setup(images)
    for part in [part for part in PARTS if part.__name__ in chosen or not chosen]:
        write(folder, part.__name__, part(network, pictures))
        print(f"{part.__name__}: {time.process_time():.0f} s of the processor so far", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record", folder, images, *chosen]:
            record(Path(folder), Path(images), chosen)
        case ["compare", old, new]:
            sys.exit(compare(Path(old), Path(new)))
        case _:
            sys.exit(__doc__)
