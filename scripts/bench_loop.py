"""One epoch of a model by mmx's training loop, and by one that is written by hand.

Both train the same modules on the same resident rows, with the same batches, clipping and
optimiser. The time is that of the thread, so that other programs on the machine count little:
use one thread (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mmx.modalities import Batch, Column, Modality, Stored
from mmx.model import MultimodalModel
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.stage_id import StageId
from mmx.training.data import Data, ModalityReader
from mmx.training.events import StopRequest
from mmx.training.fit import fit
from mmx.training.fixed_fronts import keep_fronts
from mmx.training.loss import BatchLoss
from mmx.training.memory_format import use_channels_last
from mmx.training.optimizer import AdamW
from mmx.training.precision import Precision
from mmx.training.recipe import Recipe, Validation
from mmx.training.trainer import Trainer
from mmx.transfer.base import start_fresh

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
VAL = 8


@dataclass
class Case:
    """Rows and a model of them.

    Attributes:
        columns: Modality to its column and how it is read.
        labels: ``(N,)`` int64 classes.
        make: Returns the model of specs by modality, and the number of classes.
        batch_size: Rows in a batch.
        epochs: Epochs that the loops train, of which the last one is timed.
        precision: Number format of the forward passes.
    """

    columns: Mapping[str, tuple[Column, Modality]]
    labels: torch.Tensor
    make: Callable[[dict, int], MultimodalModel]
    batch_size: int = 64
    epochs: int = 2
    precision: Precision = FP32

    def __post_init__(self) -> None:
        rows = np.arange(len(self.labels))
        self.train, self.val = rows[:-VAL], rows[-VAL:]
        self.specs = {n: m.fit(column, self.train) for n, (column, m) in self.columns.items()}
        self.views = {
            n: ModalityReader(column, m, self.specs[n]) for n, (column, m) in self.columns.items()
        }
        splits = {"train": self.train, "val": self.val}
        self.data = Data(self.views, self.labels, splits, device=CPU, resident=True)
        self.data.decode()
        self.classes = int(self.labels.max()) + 1

    def model(self) -> MultimodalModel:
        """Return a new model, always with the same weights."""
        torch.manual_seed(0)
        return use_channels_last(self.make(self.specs, self.classes))

    def train_by_mmx(self) -> float:
        """Return the seconds of the last epoch of mmx's loop, without its validation."""
        model = self.model()
        data = keep_fronts(self.data, model) if self.epochs > 1 else self.data
        trainer = Trainer(epochs=self.epochs, batch_size=self.batch_size, checkpoint_seconds=1e9)
        marks = [time.thread_time()]

        def validate(model: MultimodalModel) -> Validation:
            marks.append(time.thread_time())
            return Validation({"loss": 0.0})

        with tempfile.TemporaryDirectory() as folder:
            recipe = Recipe(
                stage=StageId.TARGET,
                seed=0,
                trainer=trainer,
                optimizer=AdamW(),
                precision=self.precision,
                validate=validate,
                score=lambda metrics: (float(len(marks)),),  # the last epoch is the best
                state_path=Path(folder) / "state.safetensors",
            )
            values = self.labels[torch.from_numpy(self.train)]
            criterion = CrossEntropy().bind(values, self.classes, model.encoded_widths)
            loss = BatchLoss(model, data, criterion, self.precision)
            self.trained = model
            fit(loss, start_fresh(model), recipe, lambda event: None, StopRequest())
        return marks[-1] - marks[-2]

    def train_by_hand(self) -> float:
        """Return the seconds of the last epoch of a loop of torch's own parts."""
        with plain_torch():
            return self._train_by_hand(self.model())

    def _train_by_hand(self, model: MultimodalModel) -> float:
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=3e-3,
            fused=True,
        )
        stored = {name: self.data.stored(name) for name in self.views}
        model.train()
        for _ in range(self.epochs):
            began = time.thread_time()
            order = torch.from_numpy(self.train)[torch.randperm(len(self.train))]
            for index in order.split(self.batch_size):
                inputs, lengths = {}, {}
                for name, view in self.views.items():
                    each = stored[name]
                    values = each.values
                    part = None
                    if each.lengths is not None:
                        part = each.lengths[index]
                        values = values[:, : int(part.max())]
                        lengths[name] = part
                    augmented = view.modality.augment(Stored(values[index], part))
                    inputs[name] = view.modality.prepare(augmented, view.spec)
                present = {n: torch.ones(len(index), dtype=torch.bool) for n in self.views}
                labels = self.labels[index]
                batch = Batch(inputs, lengths, present, labels, complete=frozenset(self.views))
                with self.precision.autocast():
                    scores = model(batch)
                loss = F.cross_entropy(scores.float(), labels)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return time.thread_time() - began


@contextmanager
def plain_torch():
    """In the ``with`` block torch is as a script finds it: not asked for determinism."""
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def alternate(loops: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each loop in each round; the loops take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            seconds[name].append(loop())
    return seconds


def median_ratio(over: list[float], under: list[float]) -> float:
    """Return the median of the ratios of two loops, round by round."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))
