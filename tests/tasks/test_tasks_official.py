"""Official files of CIFAR-10 and STL-10: fetched, checked, refused by name, fetched again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from official_layouts import NAMES, STL_NAMES, Publisher, publish_cifar10, publish_stl10
from refusals import check_error

from mmx.cli import main
from mmx.errors import DataError
from mmx.tasks.cifar import Cifar10
from mmx.tasks.stl import Stl10


def test_nothing_is_fetched_unless_that_is_said(publisher, monkeypatch, tmp_path) -> None:
    publish_cifar10(publisher, monkeypatch)
    with pytest.raises(DataError) as error:
        Cifar10(name="cifar10", data_dir=str(tmp_path)).load()
    check_error(
        error.value,
        *("cifar10", tmp_path / "cifar10", tmp_path / "cifar-10-batches-py"),
        types=["download=true", "MMX_DATA_DIR=<folder>"],
    )
    assert "170 MB" in str(error.value.tip)
    assert publisher.asked == []
    assert not list(tmp_path.iterdir())


def test_cifar10_is_fetched_once_and_read(publisher, monkeypatch, tmp_path) -> None:
    made = publish_cifar10(publisher, monkeypatch)
    data = Cifar10(name="cifar10", data_dir=str(tmp_path), download=True).load()
    assert data.target.classes == tuple(NAMES)
    images = data.columns["image"].images
    first, labels = made["data_batch_2"]
    assert np.array_equal(images[20:40], first)
    assert data.values[20:40].tolist() == labels
    assert data.splits["test"].tolist() == [*range(100, 120)]
    asked = list(publisher.asked)
    assert set(asked) == {"cifar-10-python.tar.gz"}
    again = Cifar10(name="cifar10", data_dir=str(tmp_path)).load()
    assert again.fingerprint == data.fingerprint
    assert publisher.asked == asked
    names = {path.name for path in tmp_path.iterdir()} - {".fetching-cifar10.lock"}
    assert names == {"cifar-10-batches-py", "cifar-10-python.tar.gz"}


@pytest.mark.parametrize("damage", ["half", "changed"])
def test_a_damaged_download_is_refused_and_fetched_again(
    publisher, monkeypatch, tmp_path, damage
) -> None:
    publish_cifar10(publisher, monkeypatch)
    publisher.damage["cifar-10-python.tar.gz"] = damage
    task = Cifar10(name="cifar10", data_dir=str(tmp_path), download=True)
    with pytest.raises(DataError) as error:
        task.load()
    check_error(error.value, "cifar10", "cifar-10-python.tar.gz", "cannot be fetched")
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    publisher.damage.clear()
    assert len(task.load().splits["test"]) == 20


def test_damaged_files_are_named_and_fetched_again(publisher, monkeypatch, tmp_path) -> None:
    publish_cifar10(publisher, monkeypatch)
    whole = Cifar10(name="cifar10", data_dir=str(tmp_path), download=True).load()
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(DataError) as error:
        Cifar10(name="cifar10", data_dir=str(tmp_path)).load()
    check_error(error.value, "cifar10", "cifar-10-batches-py/data_batch_3", types=["download=true"])
    again = Cifar10(name="cifar10", data_dir=str(tmp_path), download=True).load()
    assert again.fingerprint == whole.fingerprint
    # What was there is kept, since there may be files of the user's in it.
    assert (tmp_path / "cifar-10-batches-py.damaged" / "data_batch_3").is_file()
    assert any("cifar-10-batches-py.damaged was damaged" in note for note in again.notes)


def test_what_a_killed_process_left_is_removed(publisher, monkeypatch, tmp_path) -> None:
    publish_cifar10(publisher, monkeypatch)
    left = tmp_path / ".fetching-cifar10-abc" / "cifar-10-batches-py"
    left.mkdir(parents=True)
    Cifar10(name="cifar10", data_dir=str(tmp_path), download=True).load()
    assert not left.parent.exists()


def test_stl10_is_fetched_and_turned(publisher, monkeypatch, tmp_path) -> None:
    made = publish_stl10(publisher, monkeypatch)
    data = Stl10(name="stl10", data_dir=str(tmp_path), download=True).load()
    assert data.target.classes == tuple(STL_NAMES)
    images, labels = made["test"]
    rows = data.splits["test"]
    assert np.array_equal(data.columns["image"].images[rows], images)
    assert data.values[rows].tolist() == labels
    (tmp_path / "stl10_binary" / "test_y.bin").unlink()
    with pytest.raises(DataError) as error:
        Stl10(name="stl10", data_dir=str(tmp_path)).load()
    check_error(error.value, "stl10", "stl10_binary/test_y.bin", types=["download=true"])


def test_an_unreachable_server_is_named(publisher, monkeypatch, tmp_path) -> None:
    publish_stl10(publisher, monkeypatch)
    publisher.files.clear()
    with pytest.raises(DataError) as error:
        Stl10(name="stl10", data_dir=str(tmp_path), download=True).load()
    check_error(error.value, "stl10", "404", types=[tmp_path / "stl10_binary"])


def test_the_headline_command_runs_on_official_files(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    publish_cifar10(publisher, monkeypatch, rows=20)
    publish_stl10(publisher, monkeypatch, rows=20)
    line = ["train", "source=cifar10", "target=stl10", "fusion=hierarchical", "download=true"]
    small = ["trainer.epochs=1", "target.image.size=32", "target.image.crop=4", "control=none"]
    places = [f"data_dir={tmp_path}/data", f"output_dir={tmp_path}/out", "cache=off"]
    assert main([*line, *small, *places, "device=cpu", "trainer.threads=1"]) == 0
    run = Path(capsys.readouterr().out.strip())
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["source"]["task"], summary["target"]["task"]) == ("cifar10", "stl10")
    assert 0 <= summary["target"]["metrics"]["test"]["accuracy"] <= 1
