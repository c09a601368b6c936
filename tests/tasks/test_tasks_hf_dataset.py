"""Repositories of a hub as tables: fetched only when it is said, whole, at a commit, without code.

A server on this machine answers as the hub does.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hub_server import COMMIT, Hub
from refusals import check_error

from mmx.cli import main
from mmx.errors import DataError
from mmx.tasks.hf_dataset import HfDataset
from mmx.tasks.hub_data import _read_snapshot, choose_files
from mmx.tasks.table import Table

hub_library = pytest.importorskip("huggingface_hub")
CARD = b"---\nlicense: cc-by-4.0\n---\n# Tiny\n"
OPTIONS: dict[str, Any] = {"label": "kind", "columns": {"text": "words"}}


def write_rows(start: int, count: int) -> bytes:
    """Return a Parquet file of texts, whose classes have names in its metadata."""
    names = {"_type": "ClassLabel", "names": ["odd", "even"]}
    info = {"info": {"features": {"words": {"_type": "Value"}, "kind": names}}}
    schema = pa.schema(
        [("words", pa.string()), ("kind", pa.int64())],
        metadata={"huggingface": json.dumps(info)},
    )
    rows = range(start, start + count)
    columns = {"words": [f"number {row}" for row in rows], "kind": [1 - row % 2 for row in rows]}
    file = io.BytesIO()
    pa.parquet.write_table(pa.table(columns, schema=schema), file)
    return file.getvalue()


def make_files() -> dict[str, bytes]:
    return {
        "README.md": CARD,
        "tiny.py": b"raise SystemExit('code of a repository was run')\n",
        "dataset_infos.json": b"{}",
        "data/train-00000-of-00002.parquet": write_rows(0, 10),
        "data/train-00001-of-00002.parquet": write_rows(10, 10),
        "data/test-00000-of-00001.parquet": write_rows(20, 6),
        "data/unsupervised-00000-of-00001.parquet": write_rows(30, 4),
        "old/train.csv": b"words,kind\nx,odd\n",
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub(make_files(), tmp_path / "home", kind="datasets")
    found.start()
    found.use_in_this_process(monkeypatch)
    yield found
    found.stop()


def make(**options: Any) -> HfDataset:
    return HfDataset(**{"name": "hub", "repository": "owner/tiny", **OPTIONS, **options})


def test_a_repository_is_fetched_once_without_its_code(hub: Hub) -> None:
    with pytest.raises(DataError) as error:
        make().load()
    check_error(error.value, "owner/tiny", types=["download=true"])
    assert hub.asked == []
    data = make(download=True).load()
    assert not any(path.endswith((".py", "infos.json")) for path in hub.asked)
    texts = data.columns["text"].texts
    assert [texts[row] for row in data.splits["test"]] == [f"number {n}" for n in range(20, 26)]
    assert texts[:20] == [f"number {n}" for n in range(20)]
    assert data.target.classes == ("even", "odd")
    assert data.values[:4].tolist() == [0, 1, 0, 1]
    assert data.origin is not None
    assert (data.origin.name, data.origin.revision) == ("owner/tiny", COMMIT)
    assert data.origin.licence == "cc-by-4.0"
    assert any(COMMIT in note and "cc-by-4.0" in note for note in data.notes)
    assert any("unsupervised" in note for note in data.notes)
    hub.stop()
    for download in (False, True):
        assert make(download=download).load().fingerprint == data.fingerprint
    assert make(revision=COMMIT).load().fingerprint == data.fingerprint


def test_half_a_download_is_refused_and_fetched_again(hub: Hub) -> None:
    whole = make(download=True).load()
    (lost,) = hub.home.rglob("snapshots/*/data/train-00001-of-00002.parquet")
    lost.resolve().unlink()
    lost.unlink()
    with pytest.raises(DataError) as error:
        make().load()
    check_error(
        error.value, "owner/tiny", "data/train-00001-of-00002.parquet", types=["download=true"]
    )
    assert make(download=True).load().fingerprint == whole.fingerprint


def test_a_damaged_download_is_refused_and_fetched_again(hub: Hub) -> None:
    hub.damage = "changed"
    with pytest.raises(DataError) as error:
        make(download=True).load()
    check_error(error.value, "test-00000-of-00001.parquet", types=["again"])
    hub.damage = ""
    assert len(make(download=True).load().splits["test"]) == 6


def test_code_alone_is_refused(hub: Hub) -> None:
    hub.files = {name: hub.files[name] for name in ("README.md", "tiny.py")}
    with pytest.raises(DataError) as error:
        make(download=True).load()
    check_error(error.value, "owner/tiny", types=["target.revision=refs/convert/parquet"])


def test_the_manifest_keeps_the_commit(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    line = ["train", "source=none", "target=hf_dataset", "target.repository=owner/tiny"]
    line += ["target.label=kind", "target.columns={text: words}", "download=true"]
    line += [f"output_dir={tmp_path}/out", "trainer.epochs=1", "control=none", "device=cpu"]
    assert main(line) == 0
    run = Path(capsys.readouterr().out.strip())
    manifest = json.loads((run / "manifest.json").read_text())
    origin = {"name": "owner/tiny", "revision": COMMIT, "licence": "cc-by-4.0"}
    assert manifest["origins"] == {"target": origin}


def test_files_of_ones_own_are_read_as_by_a_table(tmp_path: Path) -> None:
    for name, start in (("train-0", 0), ("train-1", 10), ("test-0", 20)):
        (tmp_path / f"{name}.parquet").write_bytes(write_rows(start, 10))
    own = HfDataset(name="a", path=str(tmp_path), **OPTIONS).load()
    assert own.fingerprint == Table(name="a", path=str(tmp_path), **OPTIONS).load().fingerprint
    assert own.origin is None
    rows = HfDataset(name="a", repository="owner/tiny", **OPTIONS).with_path("other.csv")
    assert (rows.path, rows.repository, rows.labelled) == ("other.csv", None, False)


CHOICES: dict[str, tuple[list[str], str | None, dict[str, Any], dict[str, list[str]]]] = {
    "Parquet before CSV": (
        ["a.csv", "train.parquet", "test.parquet"],
        None,
        {},
        {"train": ["train.parquet"], "test": ["test.parquet"]},
    ),
    "no split is named": (["part-2.csv", "part-10.csv"], None, {},
                          {"train": ["part-2.csv", "part-10.csv"]}),
    "a subset is a folder": (
        ["en/train.parquet", "de/train.parquet", "de/validation.parquet"],
        "de",
        {},
        {"train": ["de/train.parquet"], "val": ["de/validation.parquet"]},
    ),
    "the copy as Parquet": (
        ["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"],
        None,
        {},
        {
            "train": ["default/train/0000.parquet", "default/train/0001.parquet"],
            "test": ["default/test/0000.parquet"],
        },
    ),
    "the card says so": (
        ["x/1.parquet", "x/2.parquet", "y/1.parquet"],
        None,
        {"configs": [{"config_name": "default", "data_files": [
            {"split": "train", "path": "x/*"}, {"split": "test", "path": ["y/1.parquet"]}]}]},
        {"train": ["x/1.parquet", "x/2.parquet"], "test": ["y/1.parquet"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_which_files_are_read(name: str) -> None:
    names, subset, card, expected = CHOICES[name]
    assert choose_files(names, subset, card, "owner/tiny") == expected


def test_splits_of_a_card_that_are_read_as_one_are_noted(tmp_path: Path) -> None:
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for row, split in enumerate(("train", "validation", "dev", "test", "extra")):
        lines += [f"  - split: {split}", f"    path: {split}.csv"]
        (tmp_path / f"{split}.csv").write_text(f"words,kind\none {row},a\ntwo {row},b\n")
    (tmp_path / "README.md").write_text("\n".join([*lines, "---", "# tiny"]))
    found = _read_snapshot("owner/tiny", tmp_path, None)
    assert found.merged == {"val": ("validation", "dev")}
    assert found.left_out == ("extra",)
    assert [Path(name).name for name in found.files["val"]] == ["validation.csv", "dev.csv"]
    options: dict[str, Any] = {"label": "kind", "columns": {"text": "words"}}
    task = HfDataset(name="hub", repository="owner/tiny", **options)
    task.__dict__["hub_data"] = found  # as if the hub's cache held it
    data = task.load()
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [2, 4, 2]
    (note,) = [note for note in data.notes if "validation and dev" in note]
    assert note.endswith("val")
    assert "not read: the splits extra" in data.notes


def test_which_subset_has_to_be_said() -> None:
    names = ["en/train.parquet", "de/train.parquet"]
    for subset, types in ((None, "target.subset=de"), ("enn", "target.subset=en")):
        with pytest.raises(DataError) as error:
            choose_files(names, subset, {}, "owner/tiny")
        check_error(error.value, "owner/tiny", "de, en", types=[types])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repository": None}, "path"),
        ({"path": "a.parquet"}, "repository"),
        ({"repository": "tiny"}, "owner/name"),
        ({"repository": None, "path": "a.parquet", "revision": "main"}, "revision"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(**options)


def test_what_another_program_fetched_is_read_and_noted(hub: Hub) -> None:
    whole = make(download=True).load()
    assert not any("another program" in note for note in whole.notes)
    (record,) = hub.home.rglob("snapshots/*/.mmx-fetched.json")
    record.unlink()
    data = make().load()
    assert data.fingerprint == whole.fingerprint
    assert any("another program" in note for note in data.notes)
    (lost,) = hub.home.rglob("snapshots/*/data/test-00000-of-00001.parquet")
    lost.unlink()
    assert make(download=True).load().fingerprint == whole.fingerprint
    lost.unlink()
    with pytest.raises(DataError) as error:
        make().load()
    check_error(error.value, "owner/tiny", "data/test-00000-of-00001.parquet")
