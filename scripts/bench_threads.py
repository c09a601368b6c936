"""Rows a second by CPU threads, beside programs that compute; ``bench.py --threads`` runs it.

Wall time counts here: two threads of one program wait for each other where other programs run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import torch
from bench_all import make_case

from mmx.fusion.concat import Concat

BUSY = "x = 1\nwhile True:\n    x = x * 3 % 1000003"


def bench_threads(rounds: int, most: int) -> None:
    """Print the rates for 1 and more threads beside 0, 1, … ``most`` busy programs."""
    case = make_case({"image": "small_cnn"}, Concat, 10)
    threads = sorted({1, torch.get_num_threads(), os.cpu_count() or 1})
    print(f"load when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| busy programs | " + " | ".join(f"{n} threads, rows/s" for n in threads) + " |")
    print("|---:" * (1 + len(threads)) + "|")
    for count in range(most + 1):
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
        try:
            rates: dict[int, list[float]] = {number: [] for number in threads}
            for _ in range(rounds):
                for number, found in rates.items():
                    torch.set_num_threads(number)
                    began = time.perf_counter()
                    case.train_by_mmx()
                    found.append(case.epochs * len(case.train) / (time.perf_counter() - began))
        finally:
            for each in busy:
                each.kill()
                each.wait()
        cells = (f"{statistics.median(found):,.0f}" for found in rates.values())
        print(f"| {count} | " + " | ".join(cells) + " |", flush=True)
