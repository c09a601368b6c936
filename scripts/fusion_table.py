"""All fusion methods side by side, with the best single modality and the majority class.

    python scripts/fusion_table.py [--seeds 1,2,3] --modalities a,b key=value ...

Trains every fusion (and every modality alone) on the experiment that the overrides choose,
measures each run with every subset of its modalities, and prints one Markdown table: means
over seeds of test accuracy and macro-F1, the worst accuracy with one modality missing,
trainable parameters of fusion and head, FLOPs a sample and seconds of training. A row says
whether the method beats the best single modality.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

from mmx.cli import main as mmx
from mmx.config.locate import find_options

MMX = [sys.executable, "-m", "mmx"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--modalities", required=True, help="of the target: image,text,tabular")
    parser.add_argument("--fusions", default=",".join(find_options("fusion")))
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    names = given.modalities.split(",")
    seeds = f"seed={given.seeds}"
    fused = sweep([*given.overrides, seeds, f"fusion={given.fusions}"])
    alone = sweep([*given.overrides, seeds, "modalities=" + ",".join(f"[{n}]" for n in names)])
    singles = {
        name: mean([run for run in alone if run["config"]["modalities"] == [name]], "accuracy")
        for name in names
    }
    majority = statistics.fmean(run["majority"] for run in fused)
    best = max(singles, key=singles.__getitem__)
    print(
        f"majority class {majority:.3f}; " + ", ".join(f"{n} {a:.3f}" for n, a in singles.items())
    )
    print()
    print("| fusion | accuracy | ± | macro-F1 | worst, one missing | beats "
          f"{best} | parameters | MFLOP | s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    rows = [(name, [run for run in fused if run["fusion"] == name])
            for name in given.fusions.split(",")]  # fmt: skip
    for name, runs in sorted(rows, key=lambda row: -mean(row[1], "accuracy")):
        accuracies = [run["accuracy"] for run in runs]
        spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
        found = statistics.fmean(accuracies)
        beats = "yes" if found > singles[best] else "no"
        beats += "" if found > majority else ", below majority"
        print(
            f"| `{name}` | {found:.3f} | {spread:.3f} | {mean(runs, 'f1_macro'):.3f} | "
            f"{mean(runs, 'worst'):.3f} | {beats} | {runs[0]['parameters']:,} | "
            f"{runs[0]['flops'] / 1e6:.2f} | {mean(runs, 'seconds'):.1f} |"
        )


def sweep(overrides: list[str]) -> list[dict]:
    """Run a sweep and return what its runs have found."""
    done = subprocess.run(
        [*MMX, "train", "-m", *overrides], stdout=subprocess.PIPE, text=True, check=False
    )
    place = Path(done.stdout.strip().splitlines()[-1])
    with (place / "summary.csv").open() as file:
        jobs = list(csv.DictReader(file))
    for failed in [job for job in jobs if job["status"] != "done"]:
        print(f"FAILED {failed['job']}: {failed['error']}", file=sys.stderr)
    return [look(Path(job["run"])) for job in jobs if job["status"] == "done"]


def look(run: Path) -> dict:
    """Return one run's numbers, its metrics under every subset of modalities among them."""
    summary = json.loads((run / "summary.json").read_text())
    test, params = summary["target"]["metrics"]["test"], summary["params"]
    confusion = summary["target"]["classes"]["confusion"]
    found = {
        "fusion": summary["fusion"],
        "accuracy": test["accuracy"],
        "f1_macro": test["f1_macro"],
        "parameters": params["fusion"],
        "flops": summary["cost"]["flops_per_sample"],
        "seconds": summary["timing"]["target_s"],
        "majority": max(map(sum, confusion)) / sum(map(sum, confusion)),
        "config": yaml.safe_load((run / "config.yaml").read_text()),
    }
    return {**found, "worst": worst(run)}


def worst(run: Path) -> float:
    """Return the worst accuracy with one modality missing; NaN where there is one alone."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = mmx(["eval", str(run), "suite=missing"])
    if code != 0:
        raise SystemExit(f"mmx eval {run} suite=missing ended with {code}")
    subsets = json.loads(said.getvalue())["missing"]["subsets"]
    most = max(name.count("+") for name in subsets)
    fewer = [found for name, found in subsets.items() if name.count("+") == most - 1 >= 0]
    return min((found["accuracy"] for found in fewer), default=float("nan"))


def mean(runs: list[dict], key: str) -> float:
    return statistics.fmean(run[key] for run in runs) if runs else float("nan")


if __name__ == "__main__":
    main()
