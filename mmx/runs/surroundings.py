"""What a run is computed with: code, versions, machine."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from mmx.runs.manifest import CodeVersion, Machine, Manifest

PACKAGE = Path(__file__).parent.parent
WATCHED = (
    "mmx",
    "torch",
    "torchvision",
    "torchaudio",
    "numpy",
    "scikit-learn",
    "pillow",
    "soundfile",
    "hydra-core",
)
"""Packages that are recorded by version; ``env.txt`` lists all."""
HEADERS = ("Name", "Version")


@cache
def digest_code() -> str:
    """Return the hex digest of mmx's own source files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def describe_surroundings() -> Manifest:
    """Return a manifest that holds the versions, the machine and the code of this process."""
    return Manifest(
        versions=dict(_list_versions()),
        machine=Machine(
            platform=platform.platform(),
            cpu=platform.processor() or platform.machine(),
            cpu_capability=torch.backends.cpu.get_cpu_capability(),
            threads=torch.get_num_threads(),
            cuda=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        ),
        code=CodeVersion(digest=digest_code(), git=_find_own_commit()),
    )


@cache
def _list_versions() -> dict[str, str]:
    """Return the versions of Python and of what is watched; a sweep asks for them in each job."""
    found = {name: metadata.version(name) for name in WATCHED}
    return {"python": platform.python_version(), **found}


@cache
def _find_own_commit() -> str | None:
    """Return the commit of the code that this process runs, as git told when it was first asked."""
    return find_git_commit()


@cache
def list_packages() -> str:
    """Return the installed packages, one on each line, as pip would freeze them."""
    found = {_read_package(dist) for dist in metadata.distributions()}
    return "\n".join([f"# python {sys.version.split()[0]}", *sorted(found, key=str.lower)]) + "\n"


def _read_package(dist: metadata.Distribution) -> str:
    """Return name and version; of hundreds of packages, parsing all they say takes long."""
    head = (dist.read_text("METADATA") or "").partition("\n\n")[0]
    name, version = (re.search(rf"^{key}: *(.+?)\s*$", head, re.MULTILINE) for key in HEADERS)
    if name is None or version is None:
        return f"{dist.name}=={dist.version}"
    return f"{name[1]}=={version[1]}"


def find_git_commit() -> str | None:
    """Return the commit that mmx's code is at, if it is in a repository."""
    return (_git("rev-parse", "HEAD") or "").strip() or None


def read_code_patch() -> str:
    """Return how mmx's code differs from its commit."""
    return _git("diff", "HEAD", "--", "mmx", "configs") or ""


def _git(*arguments: str) -> str | None:
    root = PACKAGE.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
