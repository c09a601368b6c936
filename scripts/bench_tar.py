"""Pictures streamed from a TAR archive; ``bench.py --tar --rows ROWS`` runs it.

An archive of small JPEG files, as ``webdataset`` writes them, is opened as a table and streamed
once in random order by mmx and by a bare ``DataLoader``: PIL and ``torch.stack`` over the same
bytes, batches, size and number of workers. Both stream the rows in as many parts as there are
rounds, in turn, so that a noisy machine meets both alike; ratios are taken part by part.
"""

from __future__ import annotations

import io
import resource
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch.utils.data import DataLoader

from mmx.modalities.image import Image
from mmx.tasks.table import Table
from mmx.training.data import Data, ModalityReader, split_rows

BATCH, SIDE, SIZE, DRAWN = 64, 96, 64, 200
"""Rows in a batch; pixels of a file and of what is read from it; different pictures."""


def write_archive(path: Path, rows: int) -> None:
    """Write files of a picture and a class for each row, the same for every call."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(DRAWN):
        coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        content = io.BytesIO()
        PIL.Image.fromarray(coarse).resize((SIDE, SIDE)).save(content, "JPEG", quality=85)
        pictures.append(content.getvalue())
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for row in range(rows):
            # A number behind the end of the picture makes every file a different one.
            picture = pictures[row % DRAWN] + row.to_bytes(4, "big")
            for suffix, content in (("jpg", picture), ("cls", b"%d" % (row % 10))):
                info = tarfile.TarInfo(f"{row:07d}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


class BareImages(torch.utils.data.Dataset[torch.Tensor]):
    """Pictures at known places of a file, each read and decoded when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path, "r:") as archive:
            self.places = [
                (one.offset_data, one.size) for one in archive if one.name.endswith(".jpg")
            ]
        self.file = None

    def __getitem__(self, row: int) -> torch.Tensor:
        if self.file is None:  # of each worker its own
            self.file = self.path.open("rb")
        start, size = self.places[row]
        self.file.seek(start)
        image = PIL.Image.open(io.BytesIO(self.file.read(size))).convert("RGB")
        return torch.from_numpy(np.array(image.resize((SIZE, SIZE), PIL.Image.Resampling.BILINEAR)))


def bench_tar(rows: int, workers: int, rounds: int) -> None:
    """Print both rates, their ratio, and the memory that streaming takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.tar"
        write_archive(path, rows)
        began = time.perf_counter()
        task = Table(
            name="tar",
            path=str(path),
            label="cls",
            columns={"image": "jpg"},
            image=Image(size=SIZE),
        )
        opened = task.load()
        print(f"{rows:,} pictures, {path.stat().st_size / 2**20:.0f} MiB, opened in "
              f"{time.perf_counter() - began:.1f} s, {measure_peak():.0f} MiB")  # fmt: skip
        view = ModalityReader(opened.columns["image"], task.image, task.image.example())
        everything = np.arange(rows, dtype=np.int64)
        data = Data(
            {"image": view},
            opened.values,
            {"train": everything},
            device=torch.device("cpu"),
            resident=False,
            workers=workers,
        )
        bare = BareImages(path)

        def stream(part: list[np.ndarray]) -> int:
            return sum(len(stored["image"].values) for _, stored in data.batches(part))

        def load(part: list[np.ndarray]) -> int:
            batches = [one.tolist() for one in part]
            loader = DataLoader(bare, batch_sampler=batches, num_workers=workers)
            return sum(len(one) for one in loader)

        batches = split_rows(np.random.default_rng(0).permutation(everything), BATCH)
        compare(batches, {"mmx": stream, "bare": load}, rounds)


def compare(
    batches: list[np.ndarray],
    ways: dict[str, Callable[[list[np.ndarray]], int]],
    rounds: int,
) -> None:
    """Stream all batches in each way, in parts and in turn, and print what was measured."""
    length = -(-len(batches) // rounds)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():  # a few batches first: imports, and the files in memory
        way(batches[:4])
    for start in range(0, len(batches), length):
        part = batches[start : start + length]
        for name, way in ways.items():
            began = time.perf_counter()
            count = way(part)
            rates[name].append(count / (time.perf_counter() - began))
        print(f"{start + len(part)} of {len(batches)} batches: {measure_peak():.0f} MiB")
    for name, found in rates.items():
        print(f"{name:5s} {statistics.median(found):8.0f} pictures/s "
              f"({min(found):.0f} … {max(found):.0f})")  # fmt: skip
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    print(f"ratio {statistics.median(ratios):8.2f} ({min(ratios):.2f} … {max(ratios):.2f})")


def measure_peak() -> float:
    """Return the most memory that this process or one of its workers has held, in MiB."""
    return max(
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
