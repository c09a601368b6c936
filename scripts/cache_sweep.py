"""What the artifact cache saves a sweep, and whether it changes a number.

    python scripts/cache_sweep.py [--into DIR] key=value,value ...

Runs ``mmx train -m`` of the overrides twice: first with a cache folder that is empty at the
start, then with ``cache=off`` (second, so that what the system itself keeps of the files helps
the sweep without a cache). Prints both wall times and their ratio, and whether the runs are the
same bit for bit: every number of source, target, control and gain in ``summary.json``, every
tensor of the target's ``best.safetensors``, and in ``scores.safetensors`` what each test sample
adds to the metrics of target and controls. Exit code 1 where a run failed or differs.

    python scripts/cache_sweep.py source=cifar10 target=stl10 transfer=parameter,feature \
        fusion=concat,attention,hierarchical,transformer,late_mean,algorithm seed=1,2 \
        target.image.size=32
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmx.reports.run_comparison import find_differing, flatten
from mmx.training import checkpoint

MMX = [sys.executable, "-m", "mmx"]
NUMBERS = ("source", "target", "control", "gain", "gains")
"""Parts of a summary that hold no time."""
TENSORS = ("checkpoints/target/best.safetensors", "scores.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--into", type=Path, help="where the runs are kept; else a temporary one")
    parser.add_argument("overrides", nargs="+")
    given = parser.parse_args()
    if given.into:
        given.into.mkdir(parents=True, exist_ok=True)
    # A new folder each time: a sweep skips what it finds done.
    folder = Path(tempfile.mkdtemp(prefix="cache_sweep-", dir=given.into))
    with_cache, cached = sweep(given.overrides, folder / "cached", str(folder / "cache"))
    without, plain = sweep(given.overrides, folder / "plain", "off")
    print(f"runs in {folder}")
    print(f"with a cache, empty at first: {with_cache:.1f} s, {len(cached)} runs")
    print(f"with cache=off: {without:.1f} s, {len(plain)} runs")
    print(f"ratio: {with_cache / without:.3f}")
    numbers, found = compared(cached, plain)
    for text in found:
        print(text)
    said = f"not identical: {len(found)} differences in" if found else "identical, bit for bit:"
    print(f"{said} {numbers:,} numbers and tensors of {len(cached)} runs")
    return 1 if found or not cached else 0


def sweep(overrides: Sequence[str], where: Path, cache: str) -> tuple[float, dict[str, Path]]:
    """Run a sweep and return its wall time, and the run of each job."""
    # The command's own word is last, so that it counts.
    words = [*overrides, f"cache={cache}", f"hydra.sweep.dir={where}"]
    began = time.perf_counter()
    done = subprocess.run(
        [*MMX, "train", "-m", *words], stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"mmx train -m {' '.join(words)} ended with {done.returncode}")
    with (where / "summary.csv").open() as file:
        jobs = list(csv.DictReader(file))
    return seconds, {_without_cache(job["job"]): Path(job["run"]) for job in jobs}


def _without_cache(job: str) -> str:
    return " ".join(word for word in job.split(" ") if not word.startswith("cache="))


def compared(cached: dict[str, Path], plain: dict[str, Path]) -> tuple[int, list[str]]:
    """Return how many numbers and tensors were compared, and in words which of them differ."""
    count, found = 0, []
    for job in dict.fromkeys([*cached, *plain]):
        if job not in cached or job not in plain:
            found.append(f"{job}: only {'with' if job in cached else 'without'} a cache")
            continue
        one, other = contents(cached[job]), contents(plain[job])
        count += len(one.keys() | other.keys())
        found += [
            f"{job}: {name}: {ours} with a cache, {theirs} without"
            for name, (ours, theirs) in find_differing(one, other).items()
        ]
    return count, found


def contents(run: Path) -> dict[str, Any]:
    """Return every number of a run, and a hash of every tensor, by name."""
    summary = json.loads((run / "summary.json").read_text())
    found = flatten({name: summary[name] for name in NUMBERS if name in summary})
    for relative in TENSORS:
        if (run / relative).is_file():
            tensors, _ = checkpoint.read_checkpoint(run / relative)  # its facts hold seconds
            found |= {f"{relative} {name}": digest(each) for name, each in tensors.items()}
    return found


def digest(tensor: torch.Tensor) -> str:
    """Return a hash of a tensor's type, shape and bits."""
    bits = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    head = f"{tensor.dtype} {tuple(tensor.shape)} ".encode()
    return hashlib.blake2b(head + bits, digest_size=16).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
