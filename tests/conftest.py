"""What several folders of tests share: a tiny task in memory, and whole runs with tiny settings."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from browser import Browser, find_browser
from composing import Composed, compose_by_choices
from hypothesis import settings
from omegaconf import DictConfig
from PIL import Image as Pictures

from mmx import execution
from mmx.config import compose
from mmx.config.sources import UserConfigs
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.evaluation.metrics import make_score, measure
from mmx.evaluation.predict import predict
from mmx.experiment import Experiment, assemble
from mmx.fusion.concat import Concat
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.model import MultimodalModel
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.runs.directory import RunDirectory
from mmx.stage_id import StageId
from mmx.tasks import Target
from mmx.training.data import Data, ModalityReader
from mmx.training.events import Event, StopRequest
from mmx.training.fit import fit
from mmx.training.loss import BatchLoss
from mmx.training.optimizer import AdamW, Optimizer
from mmx.training.precision import Precision
from mmx.training.randomness import seed_torch
from mmx.training.recipe import FitResult, Recipe, Validation
from mmx.training.trainer import Trainer
from mmx.transfer import Start
from mmx.transfer.base import start_fresh
from mmx.transfer.regularizers import Penalty

# Test files import them later; their asserts show values too.
pytest.register_assert_rewrite("metric_cases", "refusals")

settings.register_profile("on any machine", deadline=None)  # no test asserts a time
settings.load_profile("on any machine")

os.environ["MMX_CACHE_DIR"] = "off"  # no test may profit from another; some turn it on
os.environ["MMX_JOBS"] = "1"  # sweeps run in the process of the test; some ask for workers

CLASSES = ("low", "middle", "high")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that the workers of a session end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays until the end: modules and tests.

    Bytecode is only read from here on: tests change modules, and the processes that they start
    must not leave files beside them.
    """
    gc.collect()
    gc.freeze()
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _temporary_files_are_removed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the session, and the processes that it starts, a temporary folder of its own.

    Tests and libraries may leave something there, mmx nothing.
    """
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    left = sorted(path.name for path in folder.glob("mmx-*"))
    shutil.rmtree(folder, ignore_errors=True)
    assert left == []


@pytest.fixture(scope="session", autouse=True)
def _equal_choices_are_composed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what Hydra composes of mmx's own files, for thousands of tests."""
    original = compose._hydra_compose
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder in that of the session
        folder = folder.parent
    (folder / "composed").mkdir(exist_ok=True)
    composed = Composed(folder / "composed", original)

    def remembered(overrides: Sequence[str]) -> DictConfig:
        if UserConfigs.list_outside():  # whose files a test may change
            return original(overrides)
        return compose_by_choices(overrides, composed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "_hydra_compose", remembered)
        yield


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a headless Chromium for tests marked ``browser``; skip them where there is none."""
    if find_browser() is None:
        pytest.skip("no Chromium is installed, which would look at the page")
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(threads)


class StopAfter(StopRequest):
    """A signal that arrives while step number ``steps`` is taken."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.until = None

    @property
    def signal_number(self) -> int | None:
        self.left -= 1
        return signal.SIGTERM if self.left <= 0 else None


@dataclass
class Bench:
    """A tiny task in memory, with images and numbers, and what ``fit`` needs to train on it."""

    folder: Path
    rows: int = 37
    validation: int = 12
    missing: bool = True
    device: str = "cpu"
    precision: str = "fp32"
    optimizer: Optimizer = field(default_factory=AdamW)
    dropout: float = 0.3
    augment: bool = True
    trainer: dict[str, Any] = field(default_factory=dict)
    start: Callable[[MultimodalModel], Start] = start_fresh
    change: Callable[[MultimodalModel], None] = lambda model: None
    penalty: Penalty | None = None

    def __post_init__(self) -> None:
        self.events: list[Event] = []
        self.state_path = self.folder / "state.safetensors"
        options = {"epochs": 3, "batch_size": 8, "checkpoint_seconds": 1e9, **self.trainer}
        self.settings = Trainer(**options)
        self.place = torch.device(self.device)
        self.format = Precision.choose(self.precision, self.place)
        self.data = self.make_data()
        self.target = Target("classes", CLASSES)
        self.model = self.make_model()
        train = self.data.target.cpu()[: self.rows]
        self.criterion = CrossEntropy().bind(train, len(CLASSES), self.model.encoded_widths)

    def make_data(self) -> Data:
        total = self.rows + 2 * self.validation
        random = np.random.default_rng(7)
        labels = random.integers(0, len(CLASSES), total)
        pixels = random.integers(0, 120, (total, 8, 8)) + 60 * labels[:, None, None]
        images = ImageColumn(pixels.astype(np.uint8))
        numbers: list[str | None] = [f"{y + random.normal():.3f}" for y in labels]
        other: list[str | None] = [f"{random.normal():.3f}" for _ in labels]
        if self.missing:
            images.present[::5] = False
            numbers[1::5] = other[1::5] = [None] * len(numbers[1::5])
        views = [
            (images, Image(size=8, crop=1, flip=True)),
            (TabularColumn({"a": numbers, "b": other}), Tabular()),
        ]
        bounds = [0, self.rows, self.rows + self.validation, total]
        splits = {
            name: np.arange(low, high)
            for name, low, high in zip(("train", "val", "test"), bounds, bounds[1:], strict=False)
        }
        return Data(
            {
                modality.name: ModalityReader(
                    column, modality, modality.fit(column, splits["train"])
                )
                for column, modality in views
            },
            torch.from_numpy(labels),
            splits,
            device=self.place,
            resident=True,
        )

    def make_model(self) -> MultimodalModel:
        seed_torch(1, "weights")
        model = MultimodalModel(
            {name: view.spec for name, view in self.data.views.items()},
            {
                "image": partial(SmallCnn, width=8, depth=2),
                "tabular": partial(Mlp, width=8, hidden=8, dropout=self.dropout),
            },
            Concat,
            len(CLASSES),
        )
        self.change(model)
        return model.to(self.place).to(memory_format=torch.channels_last)

    def validate(self, model: MultimodalModel) -> Validation:
        found = predict(model, self.data, self.data.rows("val"), self.format)
        return Validation(measure(*found, self.target, self.criterion.task_loss))

    @property
    def loss_of(self) -> BatchLoss:
        return BatchLoss(
            self.model,
            self.data,
            self.criterion,
            self.format,
            augment=self.augment,
            modality_dropout=self.settings.modality_dropout,
            penalty=self.penalty,
        )

    def recipe(self) -> Recipe:
        return Recipe(
            stage=StageId.TARGET,
            seed=3,
            trainer=self.settings,
            optimizer=self.optimizer,
            precision=self.format,
            validate=self.validate,
            score=make_score("classes"),
            state_path=self.state_path,
        )

    def fit(self, stop: StopRequest | None = None) -> FitResult:
        start = self.start(self.model)
        return fit(
            self.loss_of,
            start,
            self.recipe(),
            self.events.append,
            stop or StopRequest(),
        )

    def epochs(self) -> list[tuple[int, int, dict[str, float]]]:
        """Return what the epochs' events say, without seconds."""
        return [(e.epoch, e.step, e.values) for e in self.events if e.kind == "epoch"]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Return ``make(**options) -> Bench``; all of one test share a state file."""
    return partial(Bench, tmp_path)


@pytest.fixture
def stop_after() -> type[StopAfter]:
    return StopAfter


Overrides = list[str]
Run = Callable[..., RunDirectory]


def prepare(overrides: Overrides, folder: Path) -> tuple[Experiment, RunDirectory]:
    """Return an experiment and its new run directory, without the command line."""
    with compose.composer():
        composed = compose.compose_job(
            [*overrides, "trainer.threads=1", "device=cpu", f"output_dir={folder}"]
        )
    experiment = assemble(composed.config)
    directory = execution.create(
        experiment,
        folder / "runs",
        choices=composed.choices,
        overrides=composed.overrides,
        unresolved=composed.unresolved,
    )
    return experiment, directory


@pytest.fixture(scope="session")
def prepared() -> Callable[[Overrides, Path], tuple[Experiment, RunDirectory]]:
    """Return ``prepared(overrides, folder)``: an experiment and its new run directory."""
    return prepare


def run_once(
    overrides: Overrides, folder: Path, listen: Callable[[Event], None] = lambda event: None
) -> RunDirectory:
    """Run an experiment in this process, without the command line; say why where it fails."""
    experiment, directory = prepare(overrides, folder)
    outcome = execution.execute(experiment, directory, listen)
    assert outcome == {"status": "done", "exit_code": 0}, outcome
    return directory


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return ``run(*overrides) -> RunDirectory``; equal command lines share one run."""
    folder = tmp_path_factory.mktemp("outputs")
    known: dict[tuple[str, ...], RunDirectory] = {}

    def run(*overrides: str) -> RunDirectory:
        if overrides not in known:
            known[overrides] = run_once(list(overrides), folder)
        return known[overrides]

    return run


@pytest.fixture
def once(tmp_path: Path) -> Callable[[list[str]], RunDirectory]:
    """Return ``run(overrides) -> RunDirectory``, which runs each time it is called."""
    return lambda overrides: run_once(overrides, tmp_path / "outputs")


@pytest.fixture(scope="session")
def run_in() -> Callable[[list[str], Path], RunDirectory]:
    """Return ``run(overrides, folder) -> RunDirectory``, which runs each time it is called."""
    return run_once


WORDS = ("stone", "river", "cloud", "grass", "metal", "paper")


def write_table(folder: Path, name: str, rows: int, seed: int) -> Path:
    """Write a table of images, sounds, words and numbers, all of which depend on the label.

    Every column lacks some cells but ``photo`` and ``b``. ``label`` is a class, ``number`` a
    number and ``tags`` several labels; a third of the rows is tested on.
    """
    random = np.random.default_rng(seed)
    lines = ["photo,picture,sound,words,a,b,label,number,tags,split"]
    for row in range(rows):
        label = row % 3
        picture, sound = f"{name}{row}.png", f"{name}{row}.wav"
        pixels = random.integers(0, 90, (8, 8, 3)) + 70 * label
        Pictures.fromarray(pixels.astype(np.uint8)).save(folder / picture)
        seconds = np.arange(600 + 20 * (row % 5)) / 8000
        tone = 0.4 * np.sin(2 * np.pi * 400 * (1 + label) * seconds)
        soundfile.write(folder / sound, tone + random.normal(0, 0.02, len(tone)), 8000)
        words = " ".join([WORDS[2 * label], *random.choice(WORDS, row % 4)])
        split = ("val", "train", "test", "train", "train", "test")[row // 3 % 6]
        cells = [
            picture,
            "" if row % 7 == 2 else picture,
            "" if row % 9 == 4 else sound,
            "" if row % 8 == 6 else words,
            "" if row % 5 == 1 else f"{label + random.normal():.3f}",
            random.choice(["x", "y"]),
            ("low", "middle", "high")[label],
            f"{10 + 3 * label + random.normal():.3f}",
            "|".join(tag for tag, there in (("even", label != 1), ("big", label > 0)) if there),
            split,
        ]
        lines.append(",".join(str(cell) for cell in cells))
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return two tables with the same columns, ``one`` and ``two``."""
    folder = tmp_path_factory.mktemp("tables")
    return {name: write_table(folder, name, 48, seed) for seed, name in enumerate(("one", "two"))}


TINY = (
    "encoder/text=embedding_mean",
    "encoder.text.width=8",
    "encoder.image.width=8",
    "encoder.audio.width=8",
    "encoder.audio.mels=8",
    "encoder.tabular.width=8",
    "encoder.tabular.hidden=8",
    "trainer.epochs=2",
    "trainer.batch_size=12",
    "trainer.workers=0",
)
COLUMNS = {"image": "picture", "audio": "sound", "text": "words", "tabular": "[a, b]"}


def on_tables(
    source: Path | None, target: Path, modalities: tuple[str, ...] = tuple(COLUMNS), *more: str
) -> list[str]:
    """Return the overrides of a tiny experiment from one table to another."""
    columns = COLUMNS if modalities != ("image",) else {"image": "photo"}
    given = "{" + ", ".join(f"{name}: {columns[name]}" for name in modalities) + "}"
    found = [] if source is not None else ["source=none"]
    for role, path in (("source", source), ("target", target)):
        if path is not None:
            found += [
                f"{role}=table",
                f"{role}.name={path.stem}",
                f"{role}.path={path}",
                f"{role}.label=label",
                f"{role}.columns={given}",
                f"{role}.split=split",
                f"{role}.audio.sample_rate=8000",
            ]
    unread = {f"encoder.{name}." for name in COLUMNS if name not in modalities}
    unread |= {"encoder/text="} if "text" not in modalities else set()
    kept = [text for text in TINY if not text.startswith(tuple(unread))]
    return [*found, *kept, *more]


@pytest.fixture(scope="session")
def overrides() -> Callable[..., list[str]]:
    """Return ``on_tables(source, target, modalities, *more)``."""
    return on_tables
