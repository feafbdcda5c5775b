"""A method in a file of the user's own: the command line, the laws and the docs know it by --plugin alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = "examples/plugins/xgrad_cam.py"


def run(*arguments: str) -> str:
    """Standard output of Python, in a process of its own, since a registered name stays."""
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_line_lists_and_runs_it(tmp_path: Path) -> None:
    assert len((ROOT / FILE).read_text().splitlines()) <= 30
    assert "xgrad-cam" in run("-m", "phosphene", "attribute", "--help", "--plugin", FILE)
    outcome = run(
        "-m", "phosphene", "attribute", "xgrad-cam", "sample:cat", "--plugin", FILE, "-o", str(tmp_path / "out")
    )
    assert "xgrad-cam for tiger cat" in outcome
    assert (tmp_path / "out/xgrad-cam.npy").is_file()


def test_the_laws_and_the_table_of_the_docs_hold_it() -> None:
    laws = "tests/laws/test_attribution.py"
    outcome = run("-m", "pytest", "-q", "-p", "no:cacheprovider", laws, "--plugin", FILE, "-k", "xgrad-cam")
    assert "passed" in outcome
    script = (
        f"from phosphene.core.user_code import plugin; plugin({FILE!r}); from hooks import methods; print(methods())"
    )
    assert "| `xgrad-cam` |" in run("-c", f"import sys; sys.path.insert(0, 'docs'); {script}")
