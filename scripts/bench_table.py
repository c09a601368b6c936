"""Time and memory of opening a table of text and numbers; ``bench.py --table ROWS`` runs it."""

from __future__ import annotations

import random
import resource
import tempfile
import time
from pathlib import Path

from mmx.tasks.table import Table

WORDS = 5000
WORDS_PER_TEXT = 8


def write_table(path: Path, rows: int) -> None:
    """Write a CSV file of a text, two numbers and a class, the same for every call."""
    draw = random.Random(0)
    words = [f"word{i}" for i in range(WORDS)]
    with path.open("w") as file:
        file.write("t,a,b,y\n")
        for row in range(rows):
            text = " ".join(draw.choices(words, k=WORDS_PER_TEXT))
            file.write(f"{text},{draw.random():.6f},{draw.randrange(1000)},{'ab'[row % 2]}\n")


def bench_table(rows: int) -> None:
    """Print how long a table takes to open, with splits, fingerprint and notes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_table(path, rows)
        task = Table(
            name="table", path=str(path), label="y", columns={"text": "t", "tabular": ["a", "b"]}
        )
        wall, processor = time.perf_counter(), time.process_time()
        task.load()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        size = path.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB, of KiB on Linux
    print(
        f"{rows:,} rows, {size / 2**20:.0f} MiB: opened in {wall:.1f} s, {processor:.1f} s of "
        f"processor time, peak memory {peak:.2f} GiB"
    )
