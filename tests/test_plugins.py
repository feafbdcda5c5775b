"""One file adds a method, an accumulator, a recipe or a study: found by the command line, the laws and the docs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGINS = ROOT / "examples" / "plugins"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "docs"), str(ROOT / "tests")]),
}

FILES = {
    "xgrad-cam": "xgrad_cam.py",
    "peak-rows": "peak_rows.py",
    "retouch": "retouch.py",
    "center-share": "center_share.py",
}


def run(*args: object) -> str:
    """What a process of its own prints: a plugin is to leave no trace in the registries of these tests."""
    command = [sys.executable, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def phosphene(*args: object, plugin: str) -> str:
    return run("-m", "phosphene", *args, "--plugin", PLUGINS / FILES[plugin])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import phosphene as ph  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("photographs")
    for name in ("cat", "coffee"):
        (folder / ph.sample(name).name).write_bytes(ph.sample(name).read_bytes())
    return folder


@pytest.mark.parametrize("file", FILES.values())
def test_an_example_has_at_most_30_lines(file: str) -> None:
    assert len((PLUGINS / file).read_text().splitlines()) <= 30


@pytest.mark.parametrize(
    ("plugin", "help_of"),
    [("xgrad-cam", ["attribute"]), ("peak-rows", ["survey"]), ("retouch", []), ("center-share", ["study"])],
)
def test_the_command_line_lists_it(plugin: str, help_of: list[str]) -> None:
    assert plugin in phosphene(*help_of, "--help", plugin=plugin)
    assert plugin not in run("-m", "phosphene", *help_of, "--help")


def test_a_method_draws_its_map(tmp_path: Path) -> None:
    phosphene("attribute", "xgrad-cam", "sample:cat", "--layer", "blocks.5", "-o", tmp_path, plugin="xgrad-cam")
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["options"] == {"name": "xgrad-cam", "layer": "blocks.5", "rectify": True}
    assert (tmp_path / "xgrad-cam.npy").exists()


def test_an_accumulator_writes_its_table(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    phosphene("survey", photographs, "--layers", "blocks.6", "--keep", "peak-rows", "-o", folder, plugin="peak-rows")
    sql = "SELECT sum(images) FROM peak_rows WHERE channel = 3"
    assert json.loads(phosphene("query", folder, sql, "--json", plugin="peak-rows")) == [{"sum(images)": 2}]


def test_a_recipe_is_a_verb(tmp_path: Path) -> None:
    args = ("sample:cat", "--to", "tench", "--steps", "4", "-o", tmp_path)
    phosphene("retouch", *args, plugin="retouch")
    stored = json.loads((tmp_path / "result.json").read_text())
    assert (stored["verb"], stored["target"], stored["options"]["steps"]) == ("retouch", "tench", 4)
    assert stored["cost"]["backwards"] == 4
    assert (tmp_path / "tench.png").exists()


def test_a_study_is_a_command(tmp_path: Path) -> None:
    phosphene("study", "center-share", "sample:cat", "sample:coffee", "-o", tmp_path, plugin="center-share")
    stored = json.loads((tmp_path / "result.json").read_text())
    assert list(stored["shares"]) == ["chelsea", "coffee"]
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("laws", "plugin"), [("test_attribution.py", "xgrad-cam"), ("test_accumulators.py", "peak-rows")]
)
def test_the_laws_hold_for_it(laws: str, plugin: str) -> None:
    path = ROOT / "tests" / "laws" / laws
    out = run("-m", "pytest", "-q", "-p", "no:cacheprovider", path, "--plugin", PLUGINS / FILES[plugin], "-k", plugin)
    assert int(out.rpartition(" passed")[0].split()[-1]) > 10


def test_the_table_of_methods_in_the_docs_has_it() -> None:
    code = (
        "import sys, hooks; from phosphene.core import user_code; user_code.plugin(sys.argv[1]); print(hooks.methods())"
    )
    assert "| `xgrad-cam` | As Grad-CAM, with" in run("-c", code, PLUGINS / FILES["xgrad-cam"])
