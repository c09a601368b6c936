"""Training speed of mmx, compared with a bare loop and with the usual slow one; cost of fusions.

    python scripts/bench.py [--rounds 5] [--device auto] [--precision auto] [key=value ...]
    python scripts/bench.py --fusions [--rounds 5] [--device auto] [--precision auto]
    python scripts/bench.py --all [NAME ...] [--rounds 5]
    python scripts/bench.py --multibench [--rounds 5] [--rows 512] [--epochs 0] [--train 8000]
    python scripts/bench.py --threads | --together [--rounds 5]
    python scripts/bench.py --heads [--rounds 5] [--device auto]
    python scripts/bench.py --features [--memory image|text] [--rows 512] [--rounds 5]
    python scripts/bench.py --table 1000000
    python scripts/bench.py --tar [--rows 200000] [--workers 2] [--rounds 5]

Three loops train the same model (default: small_cnn on cifar10, batch 64) for one epoch
each, in turn, ``rounds`` times after a warm-up; ratios are taken round by round, since
machines are noisy, and their medians printed.

  mmx     the product: mmx.training.fit with everything that it does in a run
  bare    hand-written: the same model, resident data path, precision, batch and optimiser
  loader  torch DataLoader over the JPEG files, per-image torchvision transforms, fp32

With --fusions: one step (forward, backward, AdamW) of every fusion with its defaults and a
linear head, on random features of B = 128, D = 256, M = 3, T = 64, in turn, as a ratio to
concat; and what a step keeps for its backward pass (on CUDA: the peak of its memory).

With --all: mmx's loop against a bare one for every encoder and fusion, see scripts/bench_all.py.

With --threads: rates by CPU threads beside busy programs, see scripts/bench_threads.py.
With --together: models of several seeds as one batch, see scripts/bench_together.py.
With --multibench: pictures with sounds against MultiBench's loop, see scripts/bench_multibench.py.

With --heads: heads of 5 seeds and 5 weight decays on 5,000 cached features of width 256, 10
classes, batch 64, 5 epochs: as one batch (mmx.training.many_heads), and one after another in a
plain loop of torch's fused AdamW, validated after each epoch alike.

With --features: features of frozen published encoders, see scripts/bench_features.py.
With --table: opening a table of so many rows of text and numbers, see scripts/bench_table.py.
With --tar: streaming so many pictures from a TAR archive, see scripts/bench_tar.py.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms as T
from bench_all import bench_all
from bench_multibench import bench_multibench
from bench_table import bench_table
from bench_tar import bench_tar
from bench_threads import bench_threads
from bench_together import bench_together
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

from mmx.config import compose
from mmx.config.locate import builtin_directory
from mmx.experiment import assemble
from mmx.fusion import Fusion, Widths
from mmx.modalities import Batch, Features, Stored
from mmx.model import MultimodalModel
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role, StageId
from mmx.stages import Context, open_task
from mmx.training.events import StopRequest
from mmx.training.fit import fit
from mmx.training.loss import BatchLoss
from mmx.training.many_heads import HeadTraining, train_heads
from mmx.training.optimizer import AdamW, make_parameter_groups, set_rates, warmup_cosine
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic, permute
from mmx.training.recipe import Recipe, Validation
from mmx.training.trainer import Trainer
from mmx.transfer.base import start_fresh
from mmx.transfer.heads.linear import Linear
from mmx.transfer.heads.mlp import Mlp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--fusions", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--multibench", action="store_true")
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--train", type=int, default=8000)
    parser.add_argument("--threads", action="store_true")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--heads", action="store_true")
    parser.add_argument("--features", action="store_true")
    parser.add_argument("--memory", choices=("image", "text"))
    parser.add_argument("--tar", action="store_true")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--table", type=int, metavar="ROWS")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    make_deterministic(None, choose_device(given.device))
    if given.all:
        bench_all(fusions(), given.rounds, given.overrides)
        return
    if given.threads:
        bench_threads(given.rounds, 2)
        return
    if given.together:
        bench_together(given.rounds)
        return
    if given.multibench:
        bench_multibench(given)
        return
    if given.table:
        bench_table(given.table)
        return
    if given.tar:
        bench_tar(given.rows, given.workers[-1], given.rounds)
        return
    if given.features:
        import bench_features  # needs timm and transformers

        where = choose_device(given.device), given.precision
        if given.memory:
            bench_features.measure_memory(*where, given.memory, given.rows)
        else:
            bench_features.bench_features(*where, given.rounds, given.rows)
        return
    if given.heads:
        bench_heads(choose_device(given.device), given.rounds)
        return
    if given.fusions:
        bench_fusions(choose_device(given.device), given.precision, given.rounds)
        return
    overrides = ["source=none", "target=cifar10", "trainer.epochs=1", *given.overrides]
    with compose.composer():
        config = compose.compose_job(overrides).config
    experiment = assemble(config)
    device = choose_device(given.device)
    precision = Precision.choose(given.precision, device)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(
            experiment, RunDirectory(Path(folder)), precision, lambda event: None, StopRequest()
        )
        task = experiment.target.load()
        opened = open_task(context, task, experiment.modalities[Role.TARGET], {})
        loops = {
            "mmx": lambda: run_mmx(context, opened, Path(folder)),
            "bare": lambda: run_bare(context, opened),
        }
        for workers in given.workers:
            loops[f"loader, {workers} workers"] = lambda w=workers: run_loader(context, opened, w)
        rates: dict[str, list[float]] = {name: [] for name in loops}
        for round_number in range(given.rounds + 1):
            for name, loop in loops.items():
                rate = loop()
                if round_number:
                    rates[name].append(rate)
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {threads} threads"
    print(f"{name}, {precision.name}, torch {torch.__version__}, {given.rounds} rounds")
    for loop_name, found in rates.items():
        low, high = min(found), max(found)
        print(
            f"{loop_name:18s} {statistics.median(found):9.0f} samples/s  ({low:.0f} … {high:.0f})"
        )
    for loop_name in list(rates)[1:]:
        ratios = [a / b for a, b in zip(rates["mmx"], rates[loop_name], strict=True)]
        low, high = min(ratios), max(ratios)
        print(f"mmx / {loop_name:18s} {statistics.median(ratios):5.2f}  ({low:.2f} … {high:.2f})")


def new_model(context, opened) -> MultimodalModel:
    torch.manual_seed(0)
    experiment = context.experiment
    model = MultimodalModel(
        opened.specs,
        experiment.encoders,
        experiment.role(Role.TARGET).fusion,
        opened.task.target.outputs,
    )
    return model.to(context.precision.device).to(memory_format=torch.channels_last)


def synchronized() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def run_mmx(context, opened, folder: Path) -> float:
    experiment, model = context.experiment, new_model(context, opened)
    values = opened.task.values[torch.from_numpy(opened.task.splits["train"])]
    recipe = Recipe(
        stage=StageId.TARGET,
        seed=0,
        trainer=experiment.trainer,
        optimizer=experiment.optimizer,
        precision=context.precision,
        validate=lambda model: Validation({"loss": 0.0}),
        score=lambda metrics: (0.0,),
        state_path=folder / "state.safetensors",
    )
    objective = experiment.role(Role.TARGET).objective
    criterion = objective.bind(values, opened.task.target.outputs, model.encoded_widths)
    loss = BatchLoss(model, opened.data, criterion, context.precision)
    began = synchronized()
    fit(loss, start_fresh(model), recipe, context.listen, context.stop)
    return len(values) / (synchronized() - began)


def run_bare(context, opened) -> float:
    """Train one epoch by hand: uint8 images on the device, crop and flip by index, AdamW."""
    device, size = context.precision.device, context.experiment.trainer.batch_size
    model, view = new_model(context, opened), opened.data.views["image"]
    rows = torch.from_numpy(opened.task.splits["train"]).to(device)
    if not hasattr(opened.data, "bare_images"):
        every = np.arange(len(opened.task.values))
        opened.data.bare_images = view.encode(every).values.to(device)
    images, target = opened.data.bare_images, opened.task.values.to(device)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        lr=3e-3,
        fused=True,
    )
    present = torch.ones(size, dtype=torch.bool, device=device)
    model.train()
    began = synchronized()
    order = rows[torch.randperm(len(rows), device=device)]
    for start in range(0, len(order), size):
        index = order[start : start + size]
        stored = Stored(images[index])
        pixels = view.modality.prepare(view.modality.augment(stored), view.spec)
        labels = target[index]
        batch = Batch({"image": pixels}, {}, {"image": present[: len(index)]}, labels,
                      complete=frozenset({"image"}))  # fmt: skip
        with context.precision.autocast():
            outputs = model(batch)
        loss = F.cross_entropy(outputs.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return len(rows) / (synchronized() - began)


def run_loader(context, opened, workers: int) -> float:
    """Train one epoch as most scripts do."""
    device, size = context.precision.device, context.experiment.trainer.batch_size
    transform = T.Compose(
        [
            T.RandomCrop(32, 4, padding_mode="reflect"),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
        ]
    )
    folder = Path(context.experiment.settings.data_dir) / "cifar10" / "train"
    dataset = ImageFolder(str(folder), transform)
    count = len(opened.task.splits["train"])
    loader = DataLoader(
        Subset(dataset, torch.randperm(len(dataset))[:count].tolist()),
        size,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    model = new_model(context, opened).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    model.train()
    began = synchronized()
    for pixels, labels in loader:
        pixels, labels = pixels.to(device), labels.to(device)
        present = {"image": torch.ones(len(labels), dtype=torch.bool, device=device)}
        batch = Batch({"image": pixels}, {}, present, labels, complete=frozenset({"image"}))
        loss = F.cross_entropy(model(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return count / (synchronized() - began)


def fusions() -> dict[str, type[Fusion]]:
    """Return every fusion method by name."""
    found = {}
    for path in sorted((builtin_directory() / "fusion").glob("*.yaml")):
        module = importlib.import_module(f"mmx.fusion.{path.stem}")
        found[path.stem] = getattr(module, "".join(w.capitalize() for w in path.stem.split("_")))
    return found


def bench_fusions(device: torch.device, format_name: str, rounds: int) -> None:
    """Print what a step of every fusion costs, relative to concat."""
    precision = Precision.choose(format_name, device)
    batch, width, tokens, outputs = 128, 256, 64, 10
    names = ("audio", "image", "text")
    torch.manual_seed(0)
    features = {}
    for name in names:
        x = torch.randn(batch, tokens, width, device=device)
        mask = torch.ones(batch, tokens, dtype=torch.bool, device=device)
        features[name] = Features(x, mask, x.mean(1), (x.mean(1), x.mean(1)))
    present = {name: torch.ones(batch, dtype=torch.bool, device=device) for name in names}
    target = torch.randint(outputs, (batch,), device=device)
    widths = {name: Widths(width, (width, width)) for name in names}
    steps, rows = {}, {}
    for name, method in fusions().items():
        fusion = method(widths, outputs=outputs)
        head = torch.nn.Identity() if fusion.decides else torch.nn.Linear(fusion.width, outputs)
        model = torch.nn.ModuleList([fusion, head]).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)

        def step(model=model, optimizer=optimizer) -> None:
            with precision.autocast():
                loss = F.cross_entropy(model[1](model[0](features, present)).float(), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        count = sum(parameter.numel() for parameter in model.parameters())
        steps[name], rows[name] = step, (count, kept_bytes(step, device))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        for name, step in steps.items():
            repeats = 1
            began = synchronized()
            step()
            while synchronized() - began < 0.05:
                step()
                repeats += 1
            if round_number:
                seconds[name].append((synchronized() - began) / repeats)
    where = (
        torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads"
    )
    print(f"{where}, {precision.name}, torch {torch.__version__}, {rounds} rounds")
    print(f"{'fusion':16s} {'parameters':>11s} {'ms a step':>10s} {'x concat':>9s} {'MB kept':>8s}")
    for name, found in seconds.items():
        ratios = [a / b for a, b in zip(found, seconds["concat"], strict=True)]
        count, kept = rows[name]
        print(
            f"{name:16s} {count:11,d} {1000 * statistics.median(found):10.2f} "
            f"{statistics.median(ratios):9.1f} {kept / 1e6:8.1f}"
        )


SEEDS, DECAYS = range(5), (0.0, 0.01, 0.1, 1.0, 10.0)


def bench_heads(device: torch.device, rounds: int) -> None:
    """Print how long heads of many seeds and decays take together and one after another."""
    rows, width, outputs = 5000, 256, 10
    torch.manual_seed(0)
    x, val = torch.randn(rows, width, device=device), torch.randn(500, width, device=device)
    y = torch.randint(outputs, (rows,), device=device)
    val_y = torch.randint(outputs, (500,), device=device)
    trainer = Trainer(epochs=5, batch_size=64)
    kinds = {"linear": Linear(), "mlp": Mlp()}
    heads = {
        name: [kind.make(width, outputs, "classes").to(device) for _ in SEEDS]
        for name, kind in kinds.items()
    }

    def look(outputs: torch.Tensor) -> dict[str, float]:
        accuracy = (outputs.argmax(1) == val_y).float().mean().item()
        return {"accuracy": accuracy, "loss": F.cross_entropy(outputs, val_y).item()}

    plan = HeadTraining(
        [AdamW(weight_decay=decay) for decay in DECAYS],
        trainer,
        F.cross_entropy,
        lambda found: [look(each) for each in found],
        lambda metrics: (metrics["accuracy"],),
    )

    def together(name: str) -> None:
        count = len(SEEDS)
        train_heads(heads[name], [x] * count, y, [val] * count, list(SEEDS), plan)

    def one_by_one(name: str) -> None:
        for seed, fresh in zip(SEEDS, heads[name], strict=True):
            for recipe in plan.optimizers:
                train_alone(copy.deepcopy(fresh), recipe, trainer, seed, x, y)

    def train_alone(head, recipe, trainer, seed, x, y) -> None:
        groups = make_parameter_groups(head, recipe, {}, decay=True)
        optimizer = recipe.make(groups, device)
        steps = -(-rows // trainer.batch_size)
        for epoch in range(trainer.epochs):
            order = permute(np.arange(rows), seed, "target", "order", epoch)
            for step, batch in enumerate(torch.from_numpy(order).to(device).split(64)):
                part = warmup_cosine(epoch * steps + step, trainer.epochs * steps, trainer.warmup)
                set_rates(optimizer, part)
                F.cross_entropy(head(x[batch]), y[batch]).backward()
                torch.nn.utils.clip_grad_norm_(head.parameters(), trainer.clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                look(head(val))

    where = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}, {rounds} rounds")
    for name in kinds:
        found: list[tuple[float, float]] = []
        for round_number in range(rounds + 1):
            seconds = []
            for way in (together, one_by_one):
                began = synchronized()
                way(name)
                seconds.append(synchronized() - began)
            if round_number:
                found.append((seconds[0], seconds[1]))
        ratios = [alone / batch for batch, alone in found]
        print(
            f"{name}: together {statistics.median(a for a, _ in found):.2f} s, one by one "
            f"{statistics.median(b for _, b in found):.2f} s: "
            f"{statistics.median(ratios):.1f} times ({min(ratios):.1f} … {max(ratios):.1f})"
        )


def kept_bytes(step, device: torch.device) -> int:
    """Return the bytes that a step keeps for its backward pass; on CUDA its peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(kept.values())


if __name__ == "__main__":
    main()
