"""``mmx doctor``: what mmx found on this machine, and one line of advice for what is wrong.

Exit code 1 if something keeps mmx from running.

    mmx doctor target=table target.path=shoes.csv target.label=type ...

With a target, written as for mmx train, its data is examined instead: pictures, sounds and texts
that are nearly the same in different splits (re-encoded, resized, slightly cropped; at another
gain; in other case, spacing or punctuation), and rows of equal content with different labels.
docs/guides/data.md says how they are found and how often that misleads. Flags then:

    --pairs FILE.csv    write all pairs
    --groups FILE.csv   write the table with a column near_duplicate_group, for target.group=
    -m, --config-dir DIR, --allow PKG    as for mmx train
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from mmx.verbs.arguments import Parser
from mmx.verbs.finding import Finding, print_findings

SUMMARY = "check versions and devices, or the data of a task, with advice"
PLACE = 120
COMPLETES = {
    "overrides": True,
    "flags": {
        "--multirun": None,
        "--pairs": (),
        "--groups": (),
        "--config-dir": (),
        "-cd": (),
        "--allow": (),
        "--help": None,
        "--debug": None,
    },
}

PACKAGES = (
    ("torch", "torch"),
    ("torchvision", "torchvision"),
    ("torchaudio", "torchaudio"),
    ("hydra", "hydra-core"),
    ("omegaconf", "omegaconf"),
    ("sklearn", "scikit-learn"),
    ("soundfile", "soundfile"),
    ("pyarrow", "pyarrow"),
    ("safetensors", "safetensors"),
)
OPTIONAL = (
    ("joblib launcher", "hydra-joblib-launcher", "joblib", "for parallel sweeps"),
    ("submitit launcher", "hydra-submitit-launcher", "submitit", "for sweeps on SLURM"),
    ("ray", "ray", "ray", "for sweeps on a Ray cluster"),
    ("transformers", "transformers", "transformers", "for published encoders of all modalities"),
    ("timm", "timm", "timm", "for published image networks"),
    ("open_clip", "open-clip-torch", "clip", "for pairs of image and text encoders"),
    ("peft", "peft", "peft", "for adapters as others write them"),
    ("pillow_heif", "pillow-heif", "heic", "for HEIC pictures"),
)
"""Name, package, the extra of mmx that installs it, and what for."""


def main(arguments: Sequence[str]) -> int:
    """Print the findings on this machine or, where a target is named, on its data."""
    if any("=" in word for word in arguments):
        from mmx.verbs import doctor_data  # the machine may lack what opening data needs

        return doctor_data.main(arguments)
    Parser("doctor", description=__doc__).parse_args(arguments)
    findings: list[Finding] = []
    for look in (_versions, _optional, _packages, _devices, _data, _weights, _disk):
        findings.extend(_safely(look))
    print_findings(findings)
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def _safely(look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except Exception as error:
        return [Finding(look.__name__.strip("_"), "bad", f"{type(error).__name__}: {error}")]


def _versions() -> list[Finding]:
    python = platform.python_version()
    findings = [Finding("python", "ok", f"{python} at {sys.executable}")]
    for module, package in PACKAGES:
        try:
            importlib.import_module(module)
            findings.append(Finding(package, "ok", metadata.version(package)))
        except Exception as error:
            advice = f"pip install {package}"
            if package.startswith("torch"):
                advice = "torch, torchvision and torchaudio must match: scripts/demo locks a trio"
            findings.append(Finding(package, "bad", f"does not load: {error}", advice))
    return findings


def _optional() -> list[Finding]:
    findings = []
    for name, package, extra, use in OPTIONAL:
        try:
            findings.append(Finding(name, "ok", metadata.version(package)))
        except metadata.PackageNotFoundError:
            findings.append(
                Finding(name, "note", "not installed", f'{use}: pip install "mmx[{extra}]"')
            )
    return findings


def _packages() -> list[Finding]:
    from mmx.verbs.doctor_packages import find_packages

    return find_packages()


def _devices() -> list[Finding]:
    import torch

    from mmx.training.precision import Precision, choose_device, cpu_formats

    formats = cpu_formats()
    found = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    units = ", ".join(sorted(formats)) or "neither AMX nor AVX512-BF16"
    cpu = Finding("cpu", "ok", f"{found}; bf16 in hardware: {units}")
    if torch.cuda.is_available():
        names = ", ".join(
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        )
        cuda = Finding("cuda", "ok", names)
    else:
        built = torch.version.cuda
        why = (
            f"torch was built for CUDA {built}, no device answers" if built else "a CPU-only torch"
        )
        cuda = Finding(
            "cuda", "note", why, "runs use the CPU; device=cuda would need a GPU and driver"
        )
    device = choose_device("auto")
    precision = Precision.choose("auto", device)
    chosen = Finding("device=auto", "ok", f"{device} with precision=auto -> {precision.name}")
    return [cpu, cuda, chosen]


def _data() -> list[Finding]:
    from mmx.config.compose import find_data_directory

    path = find_data_directory()
    origin = (
        "MMX_DATA_DIR" if os.environ.get("MMX_DATA_DIR") else "default, MMX_DATA_DIR is not set"
    )
    if not path.is_dir():
        return [
            Finding(
                "data",
                "note",
                f"{path} does not exist ({origin})",
                "digits and digits_av need no data; for others set MMX_DATA_DIR, or download=true",
            )
        ]
    there = sorted(each.name for each in path.iterdir() if each.is_dir())
    return [Finding("data", "ok", f"{path} ({origin}): {', '.join(there) or 'empty'}")]


def _weights() -> list[Finding]:
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    there = sorted(path.name for path in folder.glob("*.pth")) if folder.is_dir() else []
    return [Finding("cached weights", "ok", ", ".join(there) or f"none in {folder}"), _hub()]


def _hub() -> Finding:
    """Return which repositories the hub's cache holds, at which commit."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        return Finding(
            "hub cache", "ok", "not read: it needs huggingface_hub, as mmx[transformers]"
        )
    from mmx.encoders.hub import list_cached

    folder = Path(constants.HF_HUB_CACHE)
    found = [
        f"{each.name} at {(each.revision or '')[:12]} "
        f"({each.find_published().licence or 'no licence stated'})"
        for each in list_cached(folder)
    ]
    return Finding(
        "hub cache", "ok", f"{folder}: {', '.join(found)}" if found else f"none in {folder}"
    )


def _disk() -> list[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if not os.access(Path.cwd(), os.W_OK):
        return [Finding("outputs", "bad", f"{Path.cwd()} is not writable", "cd somewhere else")]
    state, advice = ("note", "checkpoints may not fit") if free < 2 else ("ok", "")
    return [Finding("outputs", state, f"{free:.0f} GB free at {Path.cwd()}", advice)]
