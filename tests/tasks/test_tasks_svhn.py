"""SVHN: .mat files by value; 10 stands for the digit 0."""

from __future__ import annotations

import numpy as np
import pytest
from official_layouts import publish_mat, shade
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.svhn import Svhn

ROWS = 20


@pytest.fixture
def made(publisher, monkeypatch):
    from torchvision.datasets import SVHN

    found, files = {}, {}
    for seed, split in enumerate(("train", "test")):
        images = shade(ROWS, 32, 32, 3, seed=seed)
        labels = np.arange(ROWS) % 10
        name = f"{split}_32x32.mat"
        stored = {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels, labels, 10)[:, None]}
        digest = publish_mat(publisher, name, stored)
        files[split] = [f"{publisher.address}/{name}", name, digest]
        found[split] = images, labels
    monkeypatch.setattr(SVHN, "split_list", files)
    return found


def test_images_and_digits_are_those_of_the_files(made, tmp_path) -> None:
    data = Svhn(name="svhn", data_dir=str(tmp_path), download=True).load()
    images, labels = made["test"]
    rows = data.splits["test"]
    assert rows.tolist() == [*range(ROWS, 2 * ROWS)]
    assert np.array_equal(data.columns["image"].images[rows], images)
    assert data.values[rows].tolist() == labels.tolist()
    assert data.target.classes == tuple("0123456789")


def test_a_damaged_file_is_named_and_fetched_again(made, tmp_path) -> None:
    whole = Svhn(name="svhn", data_dir=str(tmp_path), download=True).load()
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError) as error:
        Svhn(name="svhn", data_dir=str(tmp_path)).load()
    check_error(error.value, "svhn", "test_32x32.mat", types=["download=true"])
    again = Svhn(name="svhn", data_dir=str(tmp_path), download=True).load()
    assert again.fingerprint == whole.fingerprint
