"""All transfer modes and regularisers side by side, on one experiment.

    python scripts/transfer_table.py [--seeds 1,2,3,4,5] [--rows 'parameter;feature, mlp'] key=value

Trains every row below over the seeds, one sweep for each, and prints one Markdown table:
validation and test accuracy, the gain over the from-scratch control of equal budget with its
95 % interval over seeds and test samples, the interval corrected for the number of rows, and
seconds of training the target a seed, those of a search with it. The control is trained once for
each seed and serves every row of its fusion; heads that are fitted rather than trained need a
fusion without weights, so theirs is concat.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mmx.reports.sweep_gains import compute_gains

MMX = [sys.executable, "-m", "mmx"]
REGULARIZERS = "l2_sp delta bss mmd coral distill rkd similarity stochnorm co_tuning bi_tuning lwf"
ROWS: dict[str, list[str]] = {
    "parameter": ["transfer=parameter"],
    **{
        f"parameter, {name}": ["transfer=parameter", f"regularizer={name}"]
        for name in REGULARIZERS.split()
    },
    "parameter, head ×10": ["transfer=parameter", "transfer.copied_rate=0.1"],
    "parameter, freeze_depth 2": ["transfer=parameter", "transfer.freeze_depth=2"],
    "parameter, layer_decay 0.7": ["transfer=parameter", "transfer.layer_decay=0.7"],
    "parameter, gradual unfreezing": ["transfer=parameter", "transfer.unfreeze_every=8"],
    "parameter, LP-FT": ["transfer=parameter", "transfer.lp_ft=true"],
    "parameter, BatchNorm still": ["transfer=parameter", "transfer.batch_norm=eval"],
    "parameter, top reinitialised": ["transfer=parameter", "transfer.reinitialize=1"],
    **{
        f"feature, {head}": ["transfer=feature", f"transfer.head={head}"]
        for head in ("linear", "mlp")
    },
    **{
        f"feature, {head} (concat)": [
            "transfer=feature",
            f"transfer.head={head}",
            "fusion=concat",
        ]
        for head in ("knn", "logistic", "closed_form")
    },
    **{
        f"parameter, fusion fresh, {name}": [
            "transfer=parameter",
            "transfer.fusion=false",
            f"regularizer={name}",
        ]
        for name in ("mmd", "coral", "distill", "rkd")
    },
    "structure": ["transfer=structure"],
    "structure, similarity": ["transfer=structure", "regularizer=similarity"],
    "structure, rkd": ["transfer=structure", "regularizer=rkd"],
    "structure, magnitude": ["transfer=structure", "transfer.sparsity=magnitude"],
    "structure, n_m": ["transfer=structure", "transfer.sparsity=n_m"],
    "structure, channel": ["transfer=structure", "transfer.sparsity=channel"],
    **{
        f"joint, {name}": ["transfer=joint", f"transfer.weighting={name}"]
        for name in ("fixed", "uncertainty", "gradnorm")
    },
    **{
        f"adapter, {kind}": ["transfer=adapter", f"transfer.kind={kind}"]
        for kind in ("lora", "bottleneck")
    },
    "auto": ["transfer=auto"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument(
        "--rows", default="", help="how names begin, with ; between; all if left out"
    )
    parser.add_argument("--json", type=Path, help="where the numbers are kept too")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    begins = tuple(given.rows.split(";")) if given.rows else ("",)
    rows = {name: words for name, words in ROWS.items() if name.startswith(begins)}
    found, groups = {}, {}
    for name, words in rows.items():
        began = time.perf_counter()
        runs = sweep([*given.overrides, f"seed={given.seeds}", *words])
        if runs:
            groups[(("transfer", name),)] = runs
            found[name] = {**row(runs), "wall": time.perf_counter() - began}
            print(name, found[name], file=sys.stderr)
    for each in compute_gains(groups).found:
        found[each.group["transfer"]]["corrected"] = each.gain.interval
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    print("| transfer | validation | test | gain | 95 % interval | corrected | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, each in sorted(found.items(), key=lambda item: -item[1]["gain"]):
        low, high = each["interval"]
        corrected = "{:+.3f} … {:+.3f}".format(*each["corrected"])
        print(
            f"| {name} | {each['val']:.3f} | {each['accuracy']:.3f} | {each['gain']:+.3f} "
            f"| {low:+.3f} … {high:+.3f} | {corrected} | {each['seconds']:.1f} |"
        )
    fixed = sum(each["seconds"] for name, each in found.items() if name != "auto")
    print(f"\nSeconds a seed of all rows but auto: {fixed:.1f}")


def sweep(overrides: list[str]) -> list[Path]:
    """Run a sweep and return its finished runs."""
    done = subprocess.run(
        [*MMX, "train", "-m", *overrides],
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.strip():
        print(f"FAILED {overrides}: {done.stderr[-2000:]}", file=sys.stderr)
        return []
    with (Path(done.stdout.strip().splitlines()[-1]) / "summary.csv").open() as file:
        jobs = list(csv.DictReader(file))
    for failed in [job for job in jobs if job["status"] != "done"]:
        print(f"FAILED {failed['job']}: {failed['error']}", file=sys.stderr)
    return [Path(job["run"]) for job in jobs if job["status"] == "done"]


def row(runs: list[Path]) -> dict:
    """Return what the runs of one row have in common: means, and the gain over seeds."""
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs]
    [found] = compute_gains({(("transfer", "this"),): runs}).found
    return {
        "accuracy": found.target,
        "val": statistics.fmean(s["target"]["metrics"]["val"]["accuracy"] for s in summaries),
        "gain": found.gain.value,
        "interval": found.gain.interval,
        "seconds": statistics.fmean(
            s["timing"]["target_s"] + s["timing"].get("search_s", 0.0) for s in summaries
        ),
    }


if __name__ == "__main__":
    main()
