"""The command line as a user types it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phosphene.attribution import Attribution
from phosphene.cli import VERBS, main
from phosphene.core.registry import Named
from phosphene.synthesis.recipes.dream import Dream
from phosphene.synthesis.recipes.invert import Invert
from phosphene.synthesis.settings.preset import Best, Lecture

NET = """
import torch
from torch import nn
from phosphene import Network, Preprocess

def make():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    module = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return Network(module, Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3), ("tabby", "tiger cat", "goldfish"), "small")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network of three classes and two pictures in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    for seed, name in enumerate(("one.png", "two.png")):
        levels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(levels).resize((64, 48), Image.Resampling.BICUBIC).save(tmp_path / name)
    return tmp_path


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*args])
    return int(caught.value.code or 0)


def test_help_comes_without_torch() -> None:
    code = (
        "import sys, phosphene.cli as cli\ntry: cli.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in VERBS)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "attribute"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    assert "Options:" in capsys.readouterr().out


@pytest.mark.parametrize("method", sorted(Attribution.table))
def test_every_method_has_help_with_each_of_its_fields(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("attribute", method, "--help") == 0
    text = capsys.readouterr().out
    for option in Attribution.find(method).options():
        assert f"--{option.name.replace('_', '-')}" in text
        assert option.help, f"{method}: the docstring says nothing of {option.name}"


def test_help_lists_methods_by_name_and_shows_no_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("attribute", "--help") == 0
    listed = re.findall(r"^  ([a-z]\S*)", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE)
    assert listed == sorted(Attribution.table)
    assert run("attribute", "grad-cam", "--help") == 0
    said = capsys.readouterr().out
    assert "Reference: " in said
    assert "Args:" not in said
    assert ">>>" not in said


@pytest.mark.parametrize(
    ("verb", "methods"), [("visualize", (Best, Lecture)), ("dream", (Dream,)), ("invert", (Invert,))]
)
def test_help_tells_every_default_of_a_recipe(
    verb: str, methods: tuple[type[Named], ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(verb, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in (option for method in methods for option in method.options() if option.default not in (None, ())):
        flag = option.name.replace("_", "-")
        told = re.search(rf"--(?:no-)?{flag} (?!/).*?(?= --|$)", text)
        assert told is not None
        assert "default" in told[0], told[0]
    if verb == "visualize":
        assert "How many. [default: best 128, lecture 200]" in text


def test_explain_writes_a_report_pictures_maps_and_a_manifest(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "one.png", "--model", "net.py:make", "--target", "tabby - tiger cat", "--quiet") == 0
    folder = place / "phosphene-out/explain/one"
    manifest = json.loads((folder / "result.json").read_text())
    assert manifest["verb"] == "explain"
    assert manifest["target"] == "tabby - tiger cat"
    assert len(manifest["predictions"]) == 3
    assert manifest["inputs"][0]["width"] == 64
    kinds = {entry["kind"] for entry in manifest["files"]}
    assert kinds == {"heatmap", "picture", "overlay", "table", "report"}
    assert all((folder / entry["path"]).is_file() for entry in manifest["files"])
    assert np.load(folder / "grad-cam.npy").shape == (1, 1, 32, 32)
    page = (folder / "index.html").read_text()
    assert "Why tabby - tiger cat?" in page
    assert str(Path("phosphene-out/explain/one/index.html")) in capsys.readouterr().out


def test_json_is_all_that_standard_output_gets(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("attribute", "gradient", "one.png", "--model", "net.py:make", "--json", "-o", "out") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((place / "out/result.json").read_text())
    assert printed["options"] == {"name": "gradient"}


def test_options_of_a_method_reach_it(place: Path) -> None:
    options = ("--patch", "8", "--stride", "4", "--fill", "0.25", "--seed", "3")
    assert run("attribute", "occlusion", "one.png", "--model", "net.py:make", "-o", "out", "--quiet", *options) == 0
    found = json.loads((place / "out/result.json").read_text())["options"]
    assert found == {"name": "occlusion", "patch": 8, "stride": 4, "fill": 0.25, "seed": 3}


def test_one_bad_file_does_not_stop_the_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "broken.png").write_bytes(b"not a picture")
    code = run(
        "attribute", "gradient", "one.png", "broken.png", "two.png", "--model", "net.py:make", "-o", "out", "--quiet"
    )
    said = capsys.readouterr()
    assert code == 3
    assert "broken.png" in said.err
    assert said.err.endswith("\n1 of 3 inputs failed\n")
    assert "Traceback" not in said.err
    assert sorted(each.name for each in (place / "out").iterdir()) == ["one", "two"]


def test_where_all_of_several_fail_the_code_is_that_of_several(place: Path) -> None:
    for name in ("a.png", "b.png"):
        (place / name).write_bytes(b"not a picture")
    command = ("attribute", "gradient", "--model", "net.py:make", "-o", "out", "--quiet")
    assert run(*command, "a.png") == 2
    assert run(*command, "a.png", "b.png") == 3


def test_json_of_one_success_and_one_failure_has_both(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "a.png").write_bytes(b"not a picture")
    assert run("attribute", "gradient", "one.png", "a.png", "--model", "net.py:make", "--json", "-o", "out") == 3
    printed = json.loads(capsys.readouterr().out)
    assert [result["verb"] for result in printed["results"]] == ["attribute"]
    assert len(printed["errors"]) == 1
    assert "a.png" in printed["errors"][0]


def test_pictures_of_the_same_name_get_a_folder_each(place: Path) -> None:
    (place / "other").mkdir()
    (place / "two.png").rename(place / "other" / "one.png")
    command = ("attribute", "gradient", "one.png", "other/one.png", "--model", "net.py:make", "-o", "out", "--quiet")
    assert run(*command) == 0
    paths = {json.loads(file.read_text())["inputs"][0]["path"] for file in (place / "out").glob("*/result.json")}
    assert paths == {"one.png", "other/one.png"}


def test_the_seed_is_that_of_a_network_that_draws_random_numbers_too(place: Path) -> None:
    noisy = "class Noisy(nn.Module):\n    def forward(self, x):\n        return x * torch.rand_like(x)\n"
    (place / "noisy.py").write_text(NET.replace("nn.Flatten()", "Noisy(), nn.Flatten()") + noisy)
    maps = []
    for number, seed in enumerate("334"):
        folder = f"out-{number}"
        options = ("--model", "noisy.py:make", "--target", "tabby", "--seed", seed, "-o", folder, "--quiet")
        assert run("attribute", "gradient", "one.png", *options) == 0
        maps.append(np.load(place / folder / "gradient.npy"))
    assert np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


def test_the_result_of_another_verb_is_refused_before_the_work(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("one.png", "--model", "net.py:make", "-o", "out", "--quiet")
    assert run("attribute", "gradient", *command) == 0
    assert run("invert", *command, "--layers", "0.0", "--steps", "1", "--coarse", "0", "--finish", "0") == 2
    assert run("explain", *command, "--target", "no such class") == 2
    said = capsys.readouterr().err
    assert said.count("holds the result of phosphene attribute; name another folder with -o") == 2
    assert (place / "out" / "gradient.npy").exists()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("attribute", "grad-camm", "one.png"), "no attribution is called 'grad-camm'; did you mean 'grad-cam'"),
        (("attribute", "gradient", "none.png"), "none.png"),
        (
            ("attribute", "gradient", "one.png", "--target", "tabbi"),
            "net.py:make has no class 'tabbi'; did you mean 'tabby'?",
        ),
        (("attribute", "grad-cam", "one.png", "--layer", "0.9"), "net.py:make has no layer '0.9'; did you mean"),
        (("attribute", "gradient", "one.png", "--device", "tpu"), "the device 'tpu' is not here"),
        (("attribute", "occlusion", "one.png", "--patch", "64"), "patch of 64"),
        (("explain", "one.png", "--methods", "grad-cam,saliency"), "no attribution is called 'saliency'"),
        (("explan", "one.png"), "did you mean 'explain'"),
    ],
)
def test_errors_name_what_was_found_and_what_to_do(
    place: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], text: str
) -> None:
    model = () if args[0] == "explan" else ("--model", "net.py:make", "--quiet")
    assert run(*args, *model) == 2
    said = capsys.readouterr().err
    assert text in said
    assert "Traceback" not in said


def test_the_page_that_leads_to_all_pictures_never_replaces_a_foreign_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "site").mkdir()
    (place / "site/index.html").write_text("mine")
    args = (
        "explain",
        "one.png",
        "two.png",
        "--model",
        "net.py:make",
        "--methods",
        "gradient",
        "--no-scores",
        "--quiet",
    )
    assert run(*args, "-o", "site") == 2
    assert "index.html was not written by phosphene" in capsys.readouterr().err
    assert [path.name for path in (place / "site").iterdir()] == ["index.html"]
    assert (place / "site/index.html").read_text() == "mine"
    for _ in range(2):
        assert run(*args, "-o", "out") == 0
    assert "two" in (place / "out/index.html").read_text()


def test_layers_weights_activations(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("layers", "net.py:make", "--json") == 0
    table = {row["name"]: row for row in json.loads(capsys.readouterr().out)["layers"]}
    assert table["0.2"]["field"]["size"] == [7, 7]
    assert table["0.2"]["shape"] == [8, 16, 16]
    assert run("layers", "net.py:make") == 0
    assert "Conv2d" in capsys.readouterr().out
    assert run("weights", "net.py:make", "-o", "w") == 0
    assert (place / "w/weights.png").is_file()
    assert run("activations", "one.png", "--model", "net.py:make", "--layer", "0.3", "-o", "a") == 0
    manifest = json.loads((place / "a/result.json").read_text())
    assert all((place / "a" / entry["path"]).is_file() for entry in manifest["files"])


def test_evaluate_scores_methods(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(
        "evaluate",
        "one.png",
        "two.png",
        "--model",
        "net.py:make",
        "--methods",
        "gradient,grad-cam",
        "--json",
        "-o",
        "e",
    )
    assert code == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert {row["method"] for row in results} == {"gradient", "grad-cam"}
    assert all(0 <= row["insertion"] <= 1 and -1 <= row["sanity"] <= 1 for row in results)
    assert all(row["pointing2"] is None and "mosaic" in " ".join(row["notes"]) for row in results)


def test_doctor_finds_the_embedded_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["embedded network"].startswith("runs, 1000 classes")


def test_a_picture_from_standard_input(place: Path) -> None:
    command = [sys.executable, "-m", "phosphene", "attribute", "gradient", "-", "--model", "net.py:make", "-o", "out"]
    subprocess.run(command, input=(place / "one.png").read_bytes(), check=True, capture_output=True)
    assert json.loads((place / "out/result.json").read_text())["inputs"][0]["path"] == "-"


def test_a_full_disk_is_worth_trying_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run("attribute", "gradient", "one.png", "--model", "net.py:make", "-o", "out", "--quiet") == 75
    assert "space" in capsys.readouterr().err
