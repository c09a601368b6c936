"""A task's rows as batches: resident on the device, or decoded on the fly.

Shape legend: ``N`` rows of the task, ``B`` batch, ``T`` tokens, ``D`` width.

Both ways give the same stored rows in the same order. Augmentation and normalisation happen
afterwards on the device, so that the numbers do not depend on the way chosen.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmx.errors import DataError
from mmx.modalities import Batch, Column, Features, Modality, Spec, Stored
from mmx.modalities.row_groups import group_by_length
from mmx.processes import current_group
from mmx.training.device_copies import copy_ahead, put_on_device
from mmx.training.frozen_features import STREAMED_BYTES, FeatureTable, plan_batches, release_memory

Rows = npt.NDArray[np.int64]
CPU_PART, CUDA_PART = 0.4, 0.5
"""Fractions of the free memory that resident data may take."""


@dataclass(frozen=True)
class ModalityReader:
    """One modality of a task, and how to read it.

    Attributes:
        column: The task's raw values.
        modality: Decodes, augments and normalises them.
        spec: What was learned from the training rows.
    """

    column: Column
    modality: Modality[Any, Any]
    spec: Spec

    @cached_property
    def is_complete(self) -> bool:
        """Whether every row of the task has the modality."""
        return bool(self.column.present.all())

    def encode(self, rows: Rows) -> Stored:
        """Return decoded rows, on the CPU."""
        return self.modality.encode(self.column, rows, self.spec)


class _Decoding(torch.utils.data.Dataset[dict[str, Stored]]):
    """Batches of rows, decoded when a worker asks for them."""

    def __init__(self, views: Mapping[str, ModalityReader], batches: Sequence[Rows]) -> None:
        self.views, self.batches = views, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Stored]:
        rows = self.batches[index]
        return {name: _trim(view.encode(rows)) for name, view in self.views.items()}


class Data:
    """The rows of one task on one device.

    Args:
        views: Modality to its view.
        target: ``(N,)`` or ``(N, C)``, as models are trained on it: numbers are standardised.
        splits: Split name to row numbers.
        truth: The target as the task has it, for metrics; None if it is the same as ``target``.
        device: Where batches are needed.
        resident: Keep every modality decoded on the device; ``auto`` does so if it fits.
        workers: Processes that decode what is not resident.
    """

    def __init__(
        self,
        views: Mapping[str, ModalityReader],
        target: Tensor,
        splits: Mapping[str, Rows],
        *,
        device: torch.device,
        truth: Tensor | None = None,
        resident: str | bool = "auto",
        workers: int = 0,
    ) -> None:
        self.views, self.splits, self.device, self.workers = views, splits, device, workers
        self.target = target.to(device)
        # Not moved to the device: metrics compare on the CPU, in the task's own precision.
        self._truth = (target if truth is None else truth).cpu()
        # Asked for now: what is free changes once decoded rows are there.
        self.resident = _fits(views, device) if resident == "auto" else bool(resident)
        self._unlocked = False
        used = np.sort(np.concatenate(list(splits.values())))
        # Row number to its place among the rows in use, which are the ones kept decoded; or -1.
        self._place = np.full(len(target), -1, dtype=np.int64)
        self._place[used] = np.arange(len(used))
        self._stored: dict[str, Stored] = {}
        self._lengths: dict[str, npt.NDArray[np.int64]] = {}
        self._features: dict[str, Features] = {}
        self._tokens: dict[str, npt.NDArray[np.int64]] = {}
        self._fronts: dict[str, Tensor] = {}

    @property
    def rows_in_use(self) -> int:
        """Return how many rows are in any split, and so have features."""
        return int((self._place >= 0).sum())

    @property
    def extracted(self) -> frozenset[str]:
        """Return the modalities whose features have been computed: their encoders are not run."""
        return frozenset(self._features)

    def decode(self) -> None:
        """Decode the modalities that are kept decoded, except those with computed features."""
        used = np.flatnonzero(self._place >= 0)
        for name, view in self.views.items():
            kept = self.resident or not view.modality.streams
            if kept and name not in self._stored and name not in self._features:
                stored = view.encode(used)
                if stored.lengths is not None:
                    self._lengths[name] = stored.lengths.numpy()
                self._stored[name] = put_on_device(stored, self.device)

    def rows(self, split: str) -> Rows:
        """Return a split's row numbers.

        Raises:
            DataError: The test split is still locked.
        """
        if split == "test" and not self._unlocked:
            raise DataError("the test split is locked until selection on validation is over")
        return self.splits[split]

    def truth(self, rows: Rows) -> Tensor:
        """Return the targets of rows as the task has them, on the CPU: numbers in float64."""
        return self._truth[torch.from_numpy(rows)]

    def restrict_split(self, split: str, rows: Rows) -> Data:
        """Return the same data with one split restricted to these rows."""
        other = copy.copy(self)
        # The copy is shallow: decoded rows and features stay shared.
        other.splits = {**self.splits, split: rows}
        return other

    def select_modality(self, name: str) -> Data:
        """Return the same data with only one of its modalities; decoded values are shared."""
        other = copy.copy(self)
        other.views = {name: self.views[name]}
        other._features = {key: each for key, each in self._features.items() if key == name}
        return other

    def present(self, name: str, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return which of the rows have a modality."""
        return self.views[name].column.present[rows]

    def find_kind(self, rows: Rows) -> frozenset[str] | None:
        """Return the modalities that the rows have; None where one is not encoded as one batch.

        A single row is encoded without batch statistics, and rows of very different lengths in
        groups. Lengths of rows that are not kept decoded are not known: the model refuses groups.
        """
        counts = {name: int(self.present(name, rows).sum()) for name in self.views}
        if 1 in counts.values() or any(self._divides(name, rows) for name in self._lengths):
            return None
        return frozenset(name for name, count in counts.items() if count)

    def _divides(self, name: str, rows: Rows) -> bool:
        """Return whether the rows of a modality that is kept decoded are encoded in groups."""
        if name not in self.views or name in self._features or name in self._fronts:
            return False
        lengths = torch.from_numpy(self._lengths[name][self._place[rows]])
        shape = torch.empty(()).expand(len(rows), int(lengths.max()))  # no memory of that size
        return group_by_length(shape, lengths) is not None

    def find_complete(self, rows: Rows) -> Rows:
        """Return the rows that have every modality."""
        return rows[np.all([view.column.present[rows] for view in self.views.values()], axis=0)]

    def unlock_test(self) -> Data:
        """Return the same data with its test split open, for when selection is over."""
        other = copy.copy(self)
        other._unlocked = True
        return other

    def batches(self, batches: Sequence[Rows]) -> Iterator[tuple[Rows, dict[str, Stored]]]:
        """Yield each batch of rows with its stored values on the device, in order."""
        self.decode()
        streamed = {
            name: view
            for name, view in self.views.items()
            if name not in self._stored and name not in self._features
        }
        if not streamed:
            for rows in batches:
                yield rows, self._gather(rows)
            return
        loader = DataLoader(
            _Decoding(streamed, batches),
            # The dataset yields whole batches: the loader only spreads them over its workers.
            batch_size=None,
            num_workers=min(self.workers, len(batches)),
            pin_memory=self.device.type == "cuda",
            # Without its own generator the loader would draw from the one that each step seeds.
            # The base seed of its workers is drawn from it.
            generator=torch.Generator(),
        )
        for rows, moved in zip(batches, copy_ahead(loader, self.device), strict=True):
            yield rows, {**self._gather(rows), **moved}

    def _gather(self, rows: Rows) -> dict[str, Stored]:
        place = self._place[rows]
        index = torch.from_numpy(place).to(self.device, non_blocking=True)
        gathered = {}
        for name, stored in self._stored.items():
            if name in self._features or name not in self.views:
                continue
            values, lengths = stored.values, stored.lengths
            if name in self._fronts:
                values, lengths = self._fronts[name], None if lengths is None else lengths[index]
            elif lengths is not None:  # cut padding, as _trim does where rows are streamed
                longest = int(self._lengths[name][place].max(initial=1))
                # Before the rows are copied: one long row would make copies of all others long.
                values, lengths = values[:, : max(1, longest)], lengths[index]
            gathered[name] = Stored(values[index], lengths)  # one index operation, which copies
        return gathered

    def assemble(self, rows: Rows, stored: Mapping[str, Stored], *, augment: bool) -> Batch:
        """Return the batch that a model reads; augmentation draws from the global torch RNG."""
        inputs, lengths = {}, {}
        # Sorted: augmentation draws for one modality after the other from one generator.
        for name in sorted(stored):
            view, values = self.views[name], stored[name]
            if name in self._fronts:
                inputs[name] = values.values
            else:
                if augment:
                    values = view.modality.augment(values)
                inputs[name] = view.modality.prepare(values, view.spec)
            if values.lengths is not None:
                lengths[name] = values.lengths
        # A step of a small model takes as long as a few operations: complete columns need none.
        gaps = {
            name: view.column.present[rows]
            for name, view in self.views.items()
            if not view.is_complete
        }
        index = torch.from_numpy(rows).to(self.device)
        features = {name: self._feature_rows(name, rows) for name in self._features}
        return Batch(
            inputs=inputs,
            lengths=lengths,
            present={
                name: torch.from_numpy(gaps[name]).to(self.device)
                if name in gaps
                else torch.ones(len(rows), dtype=torch.bool, device=self.device)
                for name in self.views
            },
            target=self.target[index],
            features=features,
            complete=frozenset(n for n in self.views if n not in gaps or gaps[n].all()),
        )

    def _feature_rows(self, name: str, rows: Rows) -> Features:
        place, kept = self._place[rows], self._features[name]
        index = torch.from_numpy(place).to(self.device)
        # Cut to the batch's longest row: without it, every batch would have the padding of the
        # longest row of all splits.
        longest = int(self._tokens[name][place].max(initial=1))
        cut = Features(kept.tokens[:, :longest], kept.mask[:, :longest], kept.pooled, kept.levels)
        return cut.map(lambda part: part[index])

    def compute_features(
        self,
        name: str,
        encode: Callable[[Batch], Features],
        batch_size: int,
        most_steps: int | None = None,
    ) -> Data:
        """Return the same data with a modality's features, computed once for every row.

        Batches never mix splits, so that training features cannot depend on test rows, not even
        through the padding of a batch. Rows with lengths are encoded with others of like length.

        Args:
            name: The modality.
            encode: A frozen encoder for a batch; called without augmentation.
            batch_size: Rows in a batch at most.
            most_steps: Rows times steps of the longest in a batch at most; None for no limit.
        """
        used = np.flatnonzero(self._place >= 0)
        alone = self.read_once(name)
        groups = [*self.splits.values()]
        # Rows that a restricted split has left out still need a place in the table of features.
        groups.append(np.setdiff1d(used, np.concatenate(groups)))
        lengths = alone.lengths(name)
        batches = plan_batches(groups, lengths, batch_size, most_steps)
        table = FeatureTable(len(used))
        for rows, stored in alone.batches(batches):
            places = torch.from_numpy(self._place[rows]).to(self.device)
            table.write(places, encode(alone.assemble(rows, stored, augment=False)))
            if lengths is not None:
                release_memory()
        return self.with_features(name, table.features())

    def read_once(self, name: str) -> Data:
        """Return one modality's rows, to be read once: many large ones are not kept decoded."""
        view = self.views[name]
        alone = copy.copy(self)
        alone.views, alone._features, alone._fronts = {name: view}, {}, {}
        size = view.modality.bytes_per_row(view.spec) * self.rows_in_use
        if view.modality.streams and size > STREAMED_BYTES:
            alone.resident = False
        return alone

    def lengths(self, name: str) -> npt.NDArray[np.int64] | None:
        """Return ``(N,)`` how long a modality's rows are, to sort by; None where all are alike.

        They are the same whether rows are kept decoded or not.
        """
        view, used = self.views[name], np.flatnonzero(self._place >= 0)
        if view.modality.streams:
            found = view.modality.estimate_lengths(view.column, used)
        else:
            self.decode()
            found = self._lengths.get(name)
        if found is None:
            return None
        lengths = np.zeros(len(self._place), dtype=np.int64)
        lengths[used] = found
        return lengths

    def stored(self, name: str) -> Stored | None:
        """Return a modality's decoded rows in use, in row order; None where none are kept."""
        return self._stored.get(name)

    def places(self, rows: Rows) -> Rows:
        """Return the places of rows among the rows in use."""
        return self._place[rows]

    def with_front(self, name: str, front: Tensor) -> Data:
        """Return the same data with batches that hold this in place of a modality's values.

        Args:
            name: The modality; its values are neither augmented nor prepared.
            front: ``(N, ...)`` what an encoder computes first, for each row in use.
        """
        other = copy.copy(self)
        other._fronts = {**self._fronts, name: front}
        return other

    def with_features(self, name: str, features: Features) -> Data:
        """Return the same data with these features of every row in use, in row order."""
        other = copy.copy(self)
        other._features = {
            **self._features,
            name: features.map(lambda part: part.to(self.device)),
        }
        other._tokens = {**self._tokens, name: _find_last_tokens(features.mask)}
        return other

    def features(self, name: str) -> Features:
        """Return a modality's features of every row in use, in row order."""
        return self._features[name]


def split_rows(rows: Rows, size: int) -> list[Rows]:
    """Return the rows in batches of ``size``, the last one smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def make_batches(order: Rows, size: int, accumulate: int = 1) -> list[Rows]:
    """Return an epoch's batches, none of a single row, since batch norm needs two.

    A single last row is left out if it would be a step of its own, as with batches of
    ``size · accumulate`` rows. Otherwise it joins the batch before it, in the same step.

    Args:
        order: The epoch's rows.
        size: Rows in a batch.
        accumulate: Batches in a step.
    """
    batches = split_rows(order, size)
    if len(batches) > 1 and size > len(batches[-1]) == 1:
        *batches, left = batches
        if len(batches) % accumulate:
            batches[-1] = np.concatenate([batches[-1], left])
    return batches


def _find_last_tokens(mask: Tensor) -> npt.NDArray[np.int64]:
    """Return ``(N,)`` the position, from 1, of each row's last token in ``mask`` ``(N, T)``."""
    # 1-based, so that a row without tokens has 0.
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    last: npt.NDArray[np.int64] = (mask * places).amax(1).cpu().numpy()
    return last


def _trim(stored: Stored) -> Stored:
    """Cut padding that no row of the batch needs."""
    if stored.lengths is None:
        return stored
    longest = max(1, int(stored.lengths.max()))
    return Stored(stored.values[:, :longest].contiguous(), stored.lengths)


def _fits(views: Mapping[str, ModalityReader], device: torch.device) -> bool:
    """Return whether all decoded rows fit into the free memory of the device."""
    needed = sum(
        view.modality.bytes_per_row(view.spec) * len(view.column)
        for view in views.values()
        if view.modality.streams  # the others are kept decoded in any case
    )
    return needed <= count_free_bytes(device)


def count_free_bytes(device: torch.device) -> float:
    """Return how many bytes resident data may take on the device.

    The processes of a run divide the memory of a machine; each has a GPU of its own.
    """
    if device.type == "cuda":
        # What is free now; the other part is left to weights, gradients and activations.
        free, _ = torch.cuda.mem_get_info(device)
        return free * CUDA_PART
    try:
        part = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * CPU_PART
    except (ValueError, OSError, AttributeError):  # not on this system, such as macOS
        part = 2e9
    return part / current_group().size_here
