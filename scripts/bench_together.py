"""Models of several seeds as one batch, against one after another; ``bench.py --together`` runs it.

``torch.func.vmap`` runs one step of all models, whose weights are stacked; each has its own weights
and rows. The other loop makes the same step of one model after another. Both see the same batches,
without dropout, and use torch's fused AdamW. Networks that vmap cannot run are listed with torch's
reason.
"""

from __future__ import annotations

import copy
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from bench_all import make_case
from bench_loop import Case, median_ratio
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from mmx.fusion.concat import Concat
from mmx.modalities import Batch, Stored
from mmx.model import MultimodalModel

NETWORKS: dict[str, dict[str, str]] = {
    "tabular mlp": {"tabular": "mlp"},
    "vector mlp": {"vector": "mlp"},
    "tabular mlp + vector mlp": {"tabular": "mlp", "vector": "mlp"},
    "text embedding_mean": {"text": "embedding_mean"},
    "text text_cnn": {"text": "text_cnn"},
    "sequence tcn": {"sequence": "tcn"},
    "sequence lstm": {"sequence": "lstm"},
    "audio logmel_cnn": {"audio": "logmel_cnn"},
    "image small_cnn": {"image": "small_cnn"},
}
MODELS = 8
STEPS = 6
SIZE = 32
"""Rows of a batch: trainer.batch_size where few rows train."""

Rows = dict[str, dict[str, Tensor]]
"""Modality to the ``(K, B, …)`` input and, of sequences, ``(K, B)`` lengths of K models."""


def bench_together(rounds: int) -> None:
    """Print the rate of both loops for each network."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {MODELS} models")
    print("| network | one by one, ms a step | as one batch, times as fast | losses differ by |")
    print("|---|---:|---:|---:|")
    for name, encoders in NETWORKS.items():
        try:
            print_row(name, make_case(encoders, Concat, STEPS), rounds)
        except RuntimeError as error:
            print(f"| {name} | | {str(error).splitlines()[0][:90]} | |", flush=True)


def print_row(name: str, case: Case, rounds: int) -> None:
    """Print a line of the table: milliseconds a step of one model, ratio, difference."""
    batches = [draw_batch(case, step) for step in range(STEPS)]
    seconds: dict[str, list[float]] = {"single": [], "together": []}
    for _ in range(rounds):
        models = [make_model(case, seed) for seed in range(MODELS)]
        stacked = {n: p.detach().clone() for n, p in stack_module_state(models)[0].items()}
        taken, weights = train_together(models[0], stacked, stack_module_state(models)[1], batches)
        seconds["together"].append(taken)
        seconds["single"].append(train_singly(models, batches))
    apart = max(find_change(model, weights, k, batches[0]) for k, model in enumerate(models))
    step = 1000 * statistics.median(seconds["single"]) / MODELS / STEPS
    ratio = median_ratio(seconds["single"], seconds["together"])
    print(f"| {name} | {step:.1f} | {ratio:.2f} | {apart:.0e} |", flush=True)


def find_change(
    model: MultimodalModel, weights: dict[str, Tensor], k: int, batch: tuple[Rows, Tensor]
) -> float:
    """Return by how much the loss of a trained model changes with the stacked weights of it."""
    mine = {n: {key: t[k] for key, t in each.items()} for n, each in batch[0].items()}
    with torch.no_grad():
        alone = find_loss(model, mine, batch[1][k])
        for name, p in model.named_parameters():
            p.copy_(weights[name][k])
        return abs(float(find_loss(model, mine, batch[1][k]) - alone))


def make_model(case: Case, seed: int) -> MultimodalModel:
    """Return a model of a case with the weights that a seed draws."""
    torch.manual_seed(seed)
    model = case.make(case.specs, case.classes).train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0  # vmap would draw other masks
    return model


def draw_batch(case: Case, step: int) -> tuple[Rows, Tensor]:
    """Return the inputs and ``(K, B)`` labels of a step: other rows for each model."""
    draw = np.random.default_rng(step)
    index = torch.from_numpy(draw.choice(case.train, (MODELS, SIZE)))
    rows: Rows = {}
    for name, view in case.views.items():
        stored = case.data.stored(name)
        lengths = None if stored.lengths is None else stored.lengths[index.flatten()]
        taken = Stored(stored.values[index.flatten()], lengths)
        prepared = view.modality.prepare(taken, view.spec)
        rows[name] = {"x": prepared.unflatten(0, (MODELS, SIZE))}
        if lengths is not None:
            rows[name]["lengths"] = lengths.unflatten(0, (MODELS, SIZE))
    return rows, case.labels[index]


def find_loss(model: MultimodalModel, rows: Rows, labels: Tensor) -> Tensor:
    """Return the loss of one model on its rows."""
    inputs = {n: each["x"] for n, each in rows.items()}
    lengths = {n: each["lengths"] for n, each in rows.items() if "lengths" in each}
    present = {n: torch.ones(len(labels), dtype=torch.bool) for n in rows}
    batch = Batch(inputs, lengths, present, labels, complete=frozenset(rows))
    return F.cross_entropy(model(batch), labels)


class Loss(torch.nn.Module):
    """The loss of a model as a module, so that one call runs it with other weights."""

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: Rows, labels: Tensor) -> Tensor:
        """Return the loss of the rows of one model."""
        return find_loss(self.model, rows, labels)


def train_together(
    model: MultimodalModel,
    weights: dict[str, Tensor],
    buffers: dict[str, Tensor],
    batches: list[tuple[Rows, Tensor]],
) -> tuple[float, dict[str, Tensor]]:
    """Train all models as one batch.

    Returns:
        Seconds of the thread, and the trained weights, ``(K, …)`` each.
    """
    module = Loss(copy.deepcopy(model))
    leaves = {n: p.requires_grad_() for n, p in weights.items()}
    optimizer = torch.optim.AdamW(leaves.values(), fused=True)

    def one(p: dict[str, Tensor], b: dict[str, Tensor], rows: Rows, labels: Tensor) -> Tensor:
        state = {f"model.{n}": value for n, value in {**p, **b}.items()}
        return functional_call(module, state, (rows, labels))

    every = vmap(one, randomness="different")
    began = time.thread_time()
    for rows, labels in batches:
        every(leaves, buffers, rows, labels).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.thread_time() - began, {n: p.detach() for n, p in leaves.items()}


def train_singly(models: list[MultimodalModel], batches: list[tuple[Rows, Tensor]]) -> float:
    """Train one model after another; return the seconds of the thread."""
    began = time.thread_time()
    for k, model in enumerate(models):
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for rows, labels in batches:
            mine = {n: {key: t[k] for key, t in each.items()} for n, each in rows.items()}
            find_loss(model, mine, labels[k]).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return time.thread_time() - began
