from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as Pictures
from refusals import check_error
from torch.multiprocessing import reductions
from torch.utils.data._utils.pin_memory import pin_memory

from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.embedding_mean import EmbeddingMean
from mmx.errors import DataError
from mmx.fusion.transformer import Transformer
from mmx.modalities import Batch, Features, Stored, row_groups
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.modalities.text import TextColumn, Tokens
from mmx.model import MultimodalModel
from mmx.processes.group import ProcessGroup, join_group
from mmx.stages import extract_features
from mmx.training import data as module
from mmx.training.data import Data, ModalityReader, _Decoding, split_rows
from mmx.training.precision import Precision
from mmx.training.randomness import seed_torch

ROWS = 23
SPLITS = {"train": np.arange(4, 16), "val": np.arange(16, 20), "test": np.array([20, 22])}
USED = np.sort(np.concatenate(list(SPLITS.values())))
BATCHES = [np.array([9, 4, 11]), np.array([22]), np.array([5, 5, 15, 4])]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModalityReader]:
    """Return four modalities, two of them in files; each row lacks at most two."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    pictures: list[Path | None] = []
    sounds: list[Path | None] = []
    for row in range(ROWS):
        picture, sound = folder / f"{row}.png", folder / f"{row}.wav"
        size = (6 + row % 3, 7, 3)
        Pictures.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(picture)
        soundfile.write(sound, random.uniform(-0.5, 0.5, 900 + 40 * row), 8000)
        pictures.append(None if row % 4 == 1 else picture)
        sounds.append(None if row % 5 == 2 else sound)
    texts = [None if row % 6 == 3 else " ".join(["word"] * (1 + row % 7)) for row in range(ROWS)]
    cells: list[str | None] = [None if row % 7 == 4 else str(row) for row in range(ROWS)]
    columns = {
        "image": (ImageColumn(pictures), Image(size=8, crop=1, flip=True)),
        "audio": (AudioColumn(sounds), Audio(sample_rate=8000, shift=0.01, gain=3.0)),
        "text": (TextColumn(texts), Tokens(max_tokens=16)),
        "tabular": (TabularColumn({"n": cells}), Tabular()),
    }
    return {
        name: ModalityReader(column, modality, modality.fit(column, SPLITS["train"]))
        for name, (column, modality) in columns.items()
    }


Make = Callable[..., Data]


@pytest.fixture
def make(views: dict[str, ModalityReader]) -> Make:
    target = torch.arange(ROWS)
    return partial(Data, views, target, SPLITS, device=torch.device("cpu"))


def drawn(data: Data, *, augment: bool) -> list[Batch]:
    found = []
    for step, (rows, stored) in enumerate(data.batches(BATCHES)):
        seed_torch(0, step)
        found.append(data.assemble(rows, stored, augment=augment))
    return found


def assert_equal(one: Batch, two: Batch) -> None:
    assert list(one.inputs) == list(two.inputs)
    for name in one.inputs:
        assert one.inputs[name].dtype == two.inputs[name].dtype
        assert torch.equal(one.inputs[name], two.inputs[name]), name
    assert one.lengths.keys() == two.lengths.keys()
    assert all(torch.equal(one.lengths[name], two.lengths[name]) for name in one.lengths)
    assert all(torch.equal(one.present[name], two.present[name]) for name in one.present)
    assert torch.equal(one.target, two.target)
    assert one.complete == two.complete


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", [False, True])
def test_streamed_equals_resident_bit_for_bit(make: Make, workers: int, augment: bool) -> None:
    resident = drawn(make(resident=True), augment=augment)
    streamed = drawn(make(resident=False, workers=workers), augment=augment)
    assert len(resident) == len(streamed) == len(BATCHES)
    for one, two in zip(resident, streamed, strict=True):
        assert_equal(one, two)


@pytest.mark.parametrize("resident", [False, True])
def test_rows_come_in_the_order_they_were_asked_for(
    make: Make, views: dict[str, ModalityReader], resident: bool
) -> None:
    data = make(resident=resident)
    for (rows, stored), asked in zip(data.batches(BATCHES), BATCHES, strict=True):
        assert rows is asked
        batch = data.assemble(rows, stored, augment=False)
        assert batch.target.tolist() == asked.tolist()
        for name, view in views.items():
            alone = view.modality.prepare(view.encode(asked), view.spec)
            width = batch.inputs[name].shape[1]
            assert torch.equal(batch.inputs[name], alone[:, :width])
            assert batch.present[name].tolist() == view.column.present[asked].tolist()
            assert (name in batch.complete) == bool(view.column.present[asked].all())


@pytest.mark.parametrize("resident", [False, True])
def test_padding_is_trimmed_to_the_longest_row(make: Make, resident: bool) -> None:
    data = make(resident=resident)
    for (rows, stored), asked in zip(data.batches(BATCHES), BATCHES, strict=True):
        for name in ("audio", "text"):
            lengths = stored[name].lengths
            assert lengths is not None
            assert stored[name].values.shape[1] == max(1, int(lengths.max()))
            assert len(lengths) == len(rows) == len(asked)
    # a batch in which nobody has a sound still has one column
    (_, alone), *_ = data.batches([np.array([7, 12])])
    assert alone["audio"].values.shape == (2, 1)


def test_resident_data_is_decoded_once_and_only_rows_in_a_split(
    make: Make, views: dict[str, ModalityReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    encode = Image.encode

    def spy(self: Image, column: ImageColumn, rows: np.ndarray, spec: object) -> Stored:
        seen.append(np.asarray(rows))
        return encode(self, column, rows, spec)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "encode", spy)
    data = make(resident=True)
    drawn(data, augment=False)
    assert [rows.tolist() for rows in seen] == [USED.tolist()]


def test_auto_keeps_what_fits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(
        view.modality.bytes_per_row(view.spec) * ROWS
        for view in make().views.values()
        if view.modality.streams
    )
    monkeypatch.setattr(module, "count_free_bytes", lambda device: needed)
    assert make().resident is True
    monkeypatch.setattr(module, "count_free_bytes", lambda device: needed - 1)
    assert make().resident is False
    assert module.count_free_bytes(torch.device("cpu")) == needed - 1
    assert make(resident=True).resident is True


def test_on_a_gpu_half_of_the_free_memory_may_be_taken(
    views: dict[str, ModalityReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cuda", 1)
    free = {device: 1000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 10**15))
    assert module.count_free_bytes(device) == 500
    needed = sum(
        view.modality.bytes_per_row(view.spec) * ROWS
        for view in views.values()
        if view.modality.streams
    )
    free[device] = 2 * needed
    assert module._fits(views, device)
    free[device] -= 1
    assert not module._fits(views, device)


def test_free_memory_is_a_part_of_what_there_is() -> None:
    assert 1e6 < module.count_free_bytes(torch.device("cpu")) < 1e15


def test_processes_of_a_machine_divide_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sysconf", lambda name: 1000)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    cpu = torch.device("cpu")
    alone = module.count_free_bytes(cpu)
    assert alone == 1000 * 1000 * module.CPU_PART
    with join_group(ProcessGroup(0, 4, lambda error: error)):
        assert module.count_free_bytes(cpu) == alone / 4
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        assert module.count_free_bytes(cpu) == alone / 2


def test_rows_are_of_one_kind_with_the_same_modalities_each_in_several(make: Make) -> None:
    data = make(resident=True)
    # Rows 1, 5, 9, 13 lack pictures; 2, 7, 12 sounds; 3, 9, 15 texts; 4, 11, 18 cells.
    everything = frozenset({"image", "audio", "text", "tabular"})
    assert data.find_kind(np.array([6, 8, 10])) == everything
    assert data.find_kind(np.array([6, 8, 9])) == everything
    assert data.find_kind(np.array([1, 5, 13])) == everything - {"image"}
    assert data.find_kind(np.array([6, 5])) is None  # a picture in one row


def test_rows_that_are_encoded_in_groups_are_of_no_kind(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(resident=True)
    data.decode()
    rows = np.array([6, 8, 10])
    assert data.find_kind(rows) is not None
    monkeypatch.setattr(row_groups, "WASTE", 1)
    assert data.find_kind(rows) is not None
    monkeypatch.setattr(row_groups, "MUCH_LONGER", 1)
    assert data.find_kind(rows) is None


def test_the_test_split_is_locked_until_it_is_unlocked(make: Make) -> None:
    data = make()
    assert data.rows("train").tolist() == SPLITS["train"].tolist()
    assert data.rows("val").tolist() == SPLITS["val"].tolist()
    with pytest.raises(DataError) as caught:
        data.rows("test")
    check_error(caught.value, "test split", "validation")
    assert data.unlock_test().rows("test").tolist() == [20, 22]
    with pytest.raises(DataError):
        data.rows("test")  # the one that was unlocked is another


def test_what_workers_get_can_be_sent_to_them(views: dict[str, ModalityReader]) -> None:
    dataset = pickle.loads(pickle.dumps(_Decoding(views, BATCHES)))
    for name, stored in dataset[0].items():
        whole = views[name].encode(BATCHES[0]).values
        assert torch.equal(stored.values, whole[:, : stored.values.shape[1]])


def test_what_is_streamed_to_cuda_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's loader pins tensors, and of other objects those alone that can pin themselves."""
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    values, lengths = torch.ones(2, 3), torch.ones(2, dtype=torch.int64)
    given = {"image": Stored(values), "text": Stored(values, lengths)}
    found = pin_memory(given)
    assert [id(each) for each in pinned] == [id(values), id(lengths), id(values)]
    assert found["text"].values is values
    assert found["text"].lengths is lengths


def test_workers_send_no_padding_that_no_row_needs(
    make: Make, views: dict[str, ModalityReader]
) -> None:
    """What is cut off later would be sent and pinned first, and no part of it copied at once."""
    for sent, rows in zip(_Decoding(views, BATCHES), BATCHES, strict=False):
        for name in ("audio", "text"):
            longest = max(1, int(sent[name].lengths.max()))
            assert sent[name].values.shape == (len(rows), longest)
            assert sent[name].values.is_contiguous()


def test_chunks_are_of_one_size_but_the_last() -> None:
    assert [part.tolist() for part in split_rows(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert split_rows(np.arange(0), 2) == []


@pytest.mark.parametrize("name", ["image", "audio", "text", "tabular"])
@pytest.mark.parametrize("resident", [False, True])
def test_features_equal_encoding_on_the_fly(
    make: Make, views: dict[str, ModalityReader], name: str, resident: bool
) -> None:
    torch.manual_seed(0)
    model = MultimodalModel(
        {each: view.spec for each, view in views.items()},
        {
            "image": partial(SmallCnn, width=8, depth=2),
            "audio": partial(LogmelCnn, width=8, mels=8),
            "text": partial(EmbeddingMean, width=8),
            "tabular": partial(Mlp, width=8, hidden=8),
        },
        Transformer,
        3,
    ).eval()
    data = make(resident=resident)
    precision = Precision("fp32", torch.device("cpu"))
    cached = extract_features(data, model, name, precision)
    for rows, stored in cached.batches(BATCHES):
        assert name not in stored
        batch = cached.assemble(rows, stored, augment=True)
        assert name not in batch.inputs
        found = batch.features[name]
        ((_, own),) = data.batches([rows])
        with torch.no_grad():
            expected: Features = model.encode_one(name, data.assemble(rows, own, augment=False))
        here = batch.present[name]
        assert torch.allclose(found.pooled[here], expected.pooled[here], atol=1e-6)
        assert found.mask[:, : expected.mask.shape[1]][here].equal(expected.mask[here])
        assert not found.mask[:, expected.mask.shape[1] :].any()
        tokens = found.tokens[:, : expected.tokens.shape[1]]
        real = expected.mask & here[:, None]
        assert torch.allclose(tokens[real], expected.tokens[real], atol=1e-6)
        for one, two in zip(found.levels, expected.levels, strict=True):
            assert torch.allclose(one[here], two[here], atol=1e-6)
        assert not found.pooled[~here].any()
    assert not data._features  # the data it came from is as it was


def test_no_batch_of_kept_features_has_rows_of_two_splits(make: Make) -> None:
    seen: list[list[int]] = []

    def encode(batch: Batch) -> Features:
        row = batch.target.float()[:, None]
        seen.append(batch.target.tolist())
        mask = torch.arange(1 + len(batch))[None].expand(len(batch), -1) < 1
        return Features(row[:, None].expand(-1, 1 + len(batch), -1), mask, row)

    data = make().restrict_split("train", SPLITS["train"][1:])
    kept = data.compute_features("tabular", encode, 5)
    left_out = SPLITS["train"][:1]
    groups = [*(data.splits[name] for name in SPLITS), left_out]
    assert seen == [part.tolist() for rows in groups for part in split_rows(rows, 5)]
    assert kept.features("tabular").pooled[:, 0].tolist() == USED.tolist()
    batch = kept.assemble(np.array([22, 4, 9]), {}, augment=False)
    assert batch.features["tabular"].pooled[:, 0].tolist() == [22, 4, 9]
    assert batch.features["tabular"].tokens.shape == (3, 1, 1)  # no padding but the batch's own


@pytest.mark.parametrize("name", ["image", "audio"])
def test_rows_that_are_read_once_are_not_kept_where_they_are_large(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def encode(batch: Batch) -> Features:
        pooled = batch.inputs[name].flatten(1).double().sum(1, keepdim=True)
        mask = torch.ones(len(pooled), 1, dtype=torch.bool)
        return Features(pooled[:, None], mask, pooled)

    small, large = make(resident=True), make(resident=True)
    kept = small.compute_features(name, encode, 3)
    assert name in small._stored
    monkeypatch.setattr(module, "STREAMED_BYTES", 1)
    streamed = large.compute_features(name, encode, 3)
    assert not large._stored
    assert torch.equal(kept.features(name).pooled, streamed.features(name).pooled)


def test_longer_sounds_are_estimated_longer(make: Make, views: dict[str, ModalityReader]) -> None:
    data = make(resident=False)
    lengths = data.lengths("audio")
    assert lengths is not None
    exact = make(resident=True)
    exact.decode()
    known = exact._lengths["audio"]
    assert (
        np.argsort(lengths[USED], kind="stable").tolist()
        == np.argsort(known, kind="stable").tolist()
    )
    assert data.lengths("image") is None


@pytest.mark.parametrize(("name", "released"), [("audio", True), ("image", False)])
def test_memory_is_given_back_after_each_batch_where_rows_have_lengths(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str, released: bool
) -> None:
    calls = {"encoded": 0, "released": 0}

    def encode(batch: Batch) -> Features:
        calls["encoded"] += 1
        pooled = batch.inputs[name].flatten(1).double().sum(1, keepdim=True)
        return Features(pooled[:, None], torch.ones(len(pooled), 1, dtype=torch.bool), pooled)

    def release() -> None:
        calls["released"] += 1

    monkeypatch.setattr(module, "release_memory", release)
    make(resident=True).compute_features(name, encode, 3)
    assert calls["encoded"] > 1
    assert calls["released"] == released * calls["encoded"]


def test_torch_remembers_no_batch_that_is_gone(make: Make) -> None:
    for _ in make(resident=False, workers=2).batches(BATCHES * 4):
        pass
    gone = [each for each in reductions.shared_cache.values() if each.expired()]
    assert len(BATCHES) * 4 >= 8
    assert len(gone) <= 4 * 2  # values and lengths of the last batches, of four modalities
