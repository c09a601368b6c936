"""Late fusion of pictures and sounds, against MultiBench's loop for AV-MNIST written by hand.

``bench.py --multibench`` runs it. Rows are made as those of AV-MNIST: a picture of a digit with a
quarter of its energy (scikit-learn's, 28 × 28 pixels), and a noisy recording of the same digit
(FSDD, 1 s at 8 kHz). Pictures and recordings of test rows are in no training row.

MultiBench (Liang et al. 2021, arXiv 2107.07502; avmnist_simple_late_fusion.py) trains two LeNets,
of 4 and 6 stages, on pictures and on spectrograms of 112 × 112 that were computed before, with an
MLP of 100 units over both, batches of 40, SGD and clipping, in float32. mmx trains a ``small_cnn``
and a ``logmel_cnn``: with their defaults, and with a smaller ``logmel_cnn``.
"""

from __future__ import annotations

import os
import time
import wave
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bench_loop import CPU, VAL, Case, alternate, median_ratio, plain_torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mmx.encoders.audio.frontend import LogMel
from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.fusion.concat import Concat
from mmx.modalities.audio import Audio, AudioColumn, AudioSpec
from mmx.modalities.image import Image, ImageColumn
from mmx.model import MultimodalModel
from mmx.training.encode import BATCH_SIZE
from mmx.training.precision import Precision

RATE = 8000
SIDE = 28
BINS = 112  # frames and bands of MultiBench's spectrograms
BATCH = 40
SMALLER = {"width": 64, "mels": 32, "hop_ms": 16.0}


def read_sounds(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return FSDD's recordings ``(N, 8000)`` int16, cut or continued by silence, and digits."""
    sounds, digits = [], []
    for path in sorted(folder.glob("*.wav")):
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)[:RATE]
        sounds.append(np.pad(samples, (0, RATE - len(samples))))
        digits.append(int(path.name[0]))
    return np.stack(sounds), np.array(digits)


def keep_energy(pictures: np.ndarray, part: float = 0.25) -> np.ndarray:
    """Return pictures of the first principal components, which hold a part of their energy."""
    flat = pictures.reshape(len(pictures), -1)
    mean = flat.mean(0)
    u, s, v = np.linalg.svd(flat - mean, full_matrices=False)
    count = 1 + int(np.searchsorted(np.cumsum(s**2) / (s**2).sum(), part))
    return ((u[:, :count] * s[:count]) @ v[:count] + mean).reshape(pictures.shape)


def make_rows(counts: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return pictures, sounds and digits of so many training and test rows."""
    draw = np.random.default_rng(0)
    pixels, shown = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels.reshape(-1, 1, 8, 8)).float() / 16
    pictures = keep_energy(F.interpolate(small, size=SIDE, mode="bilinear")[:, 0].numpy())
    sounds, spoken = read_sounds(Path(os.environ["MMX_DATA_DIR"]) / "fsdd" / "recordings")
    made = []
    for part, count in enumerate(counts):
        digits = draw.integers(0, 10, count)
        images = np.zeros((count, SIDE, SIDE), np.uint8)
        waves = np.zeros((count, RATE), np.int16)
        for digit in range(10):
            rows = np.flatnonzero(digits == digit)
            # Every fifth picture and recording of a digit is for test rows.
            ours, theirs = (
                np.array(
                    [i for k, i in enumerate(np.flatnonzero(of == digit)) if (k % 5 == 0) == part]
                )
                for of in (shown, spoken)
            )
            shades = pictures[draw.choice(ours, len(rows))]
            noisy = shades + draw.normal(0, 0.1, shades.shape)
            images[rows] = np.clip(255 * noisy, 0, 255)
            heard = sounds[draw.choice(theirs, len(rows))] + draw.normal(0, 1500, (len(rows), RATE))
            waves[rows] = np.clip(heard, -32768, 32767)
        made.append((images, waves, digits))
    return made


class LeNet(nn.Module):
    """MultiBench's stages of convolution, batch norm, ReLU and pool, each twice as wide."""

    def __init__(self, channels: int, more: int) -> None:
        super().__init__()
        widths = [1, *(channels * 2**k for k in range(more + 1))]
        sizes = [5, *[3] * more]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, size, padding=size // 2, bias=False)
            for a, b, size in zip(widths, widths[1:], sizes, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2)
        return x.flatten(1)


class LateFusion(nn.Module):
    """Two LeNets and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.sound = LeNet(6, 3), LeNet(6, 5)
        self.head = nn.Sequential(nn.Linear(48 + 192, 100), nn.ReLU(), nn.Linear(100, 10))

    def forward(self, picture: Tensor, sound: Tensor) -> Tensor:
        return self.head(torch.cat([self.picture(picture), self.sound(sound)], dim=1))


def make_spectrograms(waves: np.ndarray) -> Tensor:
    """Return log-mel spectrograms ``(N, 1, 112, 112)``."""
    hop = 1000 * RATE / (BINS - 1) / RATE
    frontend = LogMel(AudioSpec(RATE, RATE), mels=BINS, window_ms=32.0, hop_ms=hop)
    x = torch.from_numpy(waves).float() / 32768
    frames = torch.cat([frontend.compute_frames(part) for part in x.split(256)])
    return F.pad(frames, (0, 0, 0, max(0, BINS - frames.shape[1])))[:, None, :BINS]


class MultiBench:
    """The loop of MultiBench's supervised learning, over tensors in memory."""

    def __init__(self, train: tuple, test: tuple, precision: Precision) -> None:
        self.precision = precision
        self.train, self.test = (
            (
                torch.from_numpy(images)[:, None].float() / 255,
                make_spectrograms(waves),
                torch.from_numpy(digits),
            )
            for images, waves, digits in (train, test)
        )
        torch.manual_seed(0)
        self.model = LateFusion()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, weight_decay=1e-4)

    def run_epoch(self, rows: int | None = None) -> float:
        """Train on the first ``rows`` in a random order, and return the seconds it took."""
        self.model.train()
        with plain_torch():
            began = time.thread_time()
            for index in torch.randperm(rows or len(self.train[0])).split(BATCH):
                picture, sound, digits = (each[index] for each in self.train)
                self.optimizer.zero_grad()
                with self.precision.autocast():
                    scores = self.model(picture, sound)
                loss = F.cross_entropy(scores.float(), digits)
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 8)
                self.optimizer.step()
            return time.thread_time() - began

    @torch.no_grad()
    def measure(self) -> float:
        """Return the accuracy on test rows."""
        self.model.eval()
        picture, sound, digits = self.test
        parts = zip(picture.split(BATCH_SIZE), sound.split(BATCH_SIZE), strict=True)
        answers = torch.cat([self.model(*part).argmax(1) for part in parts])
        return (answers == digits).float().mean().item()


def make_case(rows: tuple, epochs: int, precision: Precision, **options) -> Case:
    """Return mmx's case of the rows."""
    images, waves, digits = rows
    columns = {
        "image": (ImageColumn(images), Image(size=SIDE)),
        "audio": (AudioColumn(waves, sample_rate=RATE), Audio(sample_rate=RATE, max_seconds=1.0)),
    }
    encoders = {"image": SmallCnn, "audio": partial(LogmelCnn, **options)}

    def make(specs: dict, outputs: int) -> MultimodalModel:
        return MultimodalModel(specs, encoders, Concat, outputs)

    labels = torch.from_numpy(digits)
    return Case(columns, labels, make, epochs=epochs, precision=precision)


@torch.no_grad()
def measure(case: Case, test: Case) -> float:
    """Return the accuracy of the model that a case has trained on the rows of another."""
    model, answers = case.trained.eval(), []
    rows = np.arange(len(test.labels))
    for part, stored in test.data.batches(np.array_split(rows, len(rows) // BATCH_SIZE)):
        with case.precision.autocast():
            answers.append(model(test.data.assemble(part, stored, augment=False)).argmax(1))
    return (torch.cat(answers) == test.labels).float().mean().item()


def bench_multibench(given: Namespace) -> None:
    """Print epochs' times on ``--rows`` rows, and accuracies after ``--epochs`` on ``--train``."""
    rounds, timed, epochs, rows = given.rounds, given.rows, given.epochs, given.train
    fp32, chosen = Precision("fp32", CPU), Precision.choose(given.precision, CPU)
    train, test = make_rows((max(rows if epochs else 0, timed + VAL), 1000))
    part = tuple(each[: timed + VAL] for each in train)
    theirs = MultiBench(train, test, fp32)
    loops = {"MultiBench": lambda: theirs.run_epoch(timed)}
    if chosen != fp32:
        other = MultiBench(train, test, chosen)
        loops[f"MultiBench in {chosen.name}"] = lambda: other.run_epoch(timed)
    cases = {
        name: make_case(part, 2, chosen, **options)
        for name, options in {"defaults": {}, "smaller": SMALLER}.items()
    }
    for name, case in cases.items():
        loops[f"mmx, {name}"] = case.train_by_mmx
        loops[f"by hand, {name}"] = case.train_by_hand
    seconds = alternate(loops, rounds)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {timed} rows, "
        f"{rounds} rounds, mmx in {chosen.name}"
    )
    for name, found in seconds.items():
        times = median_ratio(seconds["MultiBench"], found)
        print(f"{name}: {timed / float(np.median(found)):,.0f} rows/s, {times:.2f} × MultiBench's")
    for name in cases:
        ratio = median_ratio(seconds[f"by hand, {name}"], seconds[f"mmx, {name}"])
        print(f"mmx / by hand, {name}: {ratio:.2f}", flush=True)
    if not epochs:
        return
    again = MultiBench(train, test, fp32)
    of = f"accuracy after {{}} epochs of {len(train[2])} rows"
    for epoch in range(epochs):
        again.run_epoch()
        print(f"{of.format(epoch + 1)}: MultiBench {again.measure():.3f}", flush=True)
    for name, options in {"smaller": SMALLER, "defaults": {}}.items():
        case = make_case(train, epochs, chosen, **options)
        case.train_by_mmx()
        accuracy = measure(case, make_case(test, 1, chosen))
        print(f"{of.format(epochs)}: mmx, {name} {accuracy:.3f}", flush=True)
