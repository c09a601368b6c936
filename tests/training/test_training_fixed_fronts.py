"""Fronts that are computed once: the same batches and the same trained numbers as without."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.audio.logmel_lstm import LogmelLstm
from mmx.fusion.concat import Concat
from mmx.modalities.audio import Audio, AudioColumn
from mmx.model import MultimodalModel
from mmx.stages.phases import training_setup
from mmx.training import fixed_fronts
from mmx.training.data import Data, ModalityReader
from mmx.training.fixed_fronts import keep_fronts

SPLITS = {"train": np.arange(0, 6), "val": np.array([6, 7]), "test": np.array([8, 9])}
CPU = torch.device("cpu")


def make(audio: Audio, sounds: list[np.ndarray | None]) -> tuple[Data, MultimodalModel]:
    torch.manual_seed(0)
    spec = audio.example()
    column = AudioColumn(
        np.stack([np.zeros(400) if x is None else x for x in sounds]), sample_rate=8000
    )
    column.present = np.array([x is not None for x in sounds])
    target = torch.arange(len(sounds)) % 2
    data = Data(
        {"audio": ModalityReader(column, audio, spec)}, target, SPLITS, device=CPU, resident=True
    )
    encoders = {"audio": partial(LogmelCnn, width=8, mels=8)}
    return data, MultimodalModel({"audio": spec}, encoders, Concat, 2)


def sounds(lacking: int | None = None) -> list[np.ndarray | None]:
    random = np.random.default_rng(0)
    made: list[np.ndarray | None] = [random.uniform(-0.5, 0.5, 400) for _ in range(10)]
    if lacking is not None:
        made[lacking] = None
    return made


def read(data: Data, rows: np.ndarray, augment: bool = True):
    ((_, stored),) = data.batches([rows])
    return data.assemble(rows, stored, augment=augment)


@pytest.mark.parametrize("lacking", [None, 2])
def test_a_model_gives_the_same_bits_for_kept_fronts(lacking) -> None:
    data, model = make(Audio(sample_rate=8000, max_seconds=0.05), sounds(lacking))
    kept = keep_fronts(data, model)
    for rows in (np.array([4, 2, 0]), np.array([6])):
        plain, front = read(data, rows), read(kept, rows)
        assert plain.inputs["audio"].shape == (len(rows), 400)
        assert front.inputs["audio"].shape == (len(rows), 6, 8)  # 1 + 400 // 80 frames, 8 bands
        torch.testing.assert_close(model(front), model(plain), rtol=0, atol=0)
        assert front.complete == plain.complete


def test_an_encoder_takes_frames_in_place_of_samples() -> None:
    audio = Audio(sample_rate=8000, max_seconds=0.05)
    encoder = LogmelLstm(audio.example(), width=8, mels=8).eval()
    x, lengths = torch.randn(3, 400), torch.tensor([400, 200, 90])
    one, other = encoder(x, lengths), encoder(encoder.fixed_front()(x, lengths), lengths)
    torch.testing.assert_close(one.tokens, other.tokens, rtol=0, atol=0)
    assert torch.equal(one.mask, other.mask)
    assert one.mask.sum(1).tolist() == [6, 3, 2]


def test_rows_of_the_test_split_are_left_out() -> None:
    data, model = make(Audio(sample_rate=8000, max_seconds=0.05), sounds())
    kept = keep_fronts(data, model)._fronts["audio"]
    assert kept.any((1, 2)).tolist() == [True] * 8 + [False] * 2


@pytest.mark.parametrize(
    "audio",
    [
        Audio(sample_rate=8000, max_seconds=0.05, gain=1.0),
        Audio(sample_rate=8000, max_seconds=0.05, shift=0.01),
        Audio(sample_rate=8000, max_seconds=0.06),  # the rows do not fill it
    ],
)
def test_fronts_that_change_or_have_padding_are_not_kept(audio) -> None:
    data, model = make(audio, sounds())
    assert keep_fronts(data, model) is data
    assert read(data, np.array([1, 0]), augment=False).inputs["audio"].dim() == 2


def test_fronts_that_are_rounded_otherwise_alone_are_not_kept(monkeypatch) -> None:
    data, model = make(Audio(sample_rate=8000, max_seconds=0.05), sounds())
    front = model.encoders["audio"].frontend.compute_frames
    monkeypatch.setattr(
        model.encoders["audio"], "fixed_front", lambda: lambda x, n: front(x, n) + len(x) * 1e-7
    )
    assert keep_fronts(data, model) is data


def test_fronts_that_do_not_fit_into_memory_are_not_kept(monkeypatch) -> None:
    data, model = make(Audio(sample_rate=8000, max_seconds=0.05), sounds())
    monkeypatch.setattr(fixed_fronts, "count_free_bytes", lambda device: 100.0)
    assert keep_fronts(data, model) is data


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({}, True),
        ({"epochs": 1}, False),  # each input is read once
        ({"penalty": 1}, False),  # the source's encoders read the inputs
        ({"joint": 1}, False),
        ({"mixes": True}, False),  # the balance mixes the inputs
        ({"mixes": False}, True),
    ],
)
def test_fronts_are_kept_where_only_the_encoders_read_the_inputs_and_more_than_once(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, int], kept: bool
) -> None:
    facts = {"epochs": 2, "penalty": None, "joint": None, "mixes": None, **changed}
    balance = None if facts["mixes"] is None else SimpleNamespace(mixes_inputs_of=facts["mixes"])
    trainer = SimpleNamespace(of=lambda role: SimpleNamespace(epochs=facts["epochs"]))
    data = SimpleNamespace(decode=lambda: None)
    state = SimpleNamespace(
        prepared=SimpleNamespace(
            data=data, penalty=facts["penalty"], joint=facts["joint"], model=None
        ),
        context=SimpleNamespace(experiment=SimpleNamespace(balance=balance, trainer=trainer)),
        stage=SimpleNamespace(id=SimpleNamespace(role="target")),
    )
    monkeypatch.setattr(training_setup, "keep_fronts", lambda data, model: "kept")
    assert training_setup.make_training_data(state) == ("kept" if kept else data)
