"""Values of published weights are read once a process, and again where a file has changed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_models import save_text_model

from mmx.encoders.published import Published
from mmx.encoders.text.transformers import Transformers
from mmx.errors import DataError
from mmx.stages.core import published_values
from mmx.stages.core.published_values import PublishedValues, read_values

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Published]:
    """Return the weights that are read from files from now on."""
    monkeypatch.setattr(published_values, "_KEPT", type(published_values._KEPT)())
    found: list[Published] = []
    own = Transformers.read_published

    def read(encoder: Transformers, published: Published) -> dict[str, torch.Tensor]:
        found.append(published)
        return own(encoder, published)

    monkeypatch.setattr(Transformers, "read_published", read)
    return found


def read(folder: Path, **options: object) -> PublishedValues:
    options = {"model": str(folder), "max_tokens": 8, **options}
    spec = Transformers.read_with(None, **options).example()
    return read_values(
        partial(Transformers, **options), spec, Transformers.find_published(**options)
    )


def test_files_are_read_once_and_again_where_they_have_changed(
    tmp_path: Path, counted: list[Published]
) -> None:
    folder = save_text_model(tmp_path / "tiny")
    first = read(folder)
    assert read(folder) is first
    assert len(counted) == 1
    save_text_model(folder, seed=1)
    second = read(folder)
    assert len(counted) == 2
    name = "net.encoder.layer.0.output.dense.weight"
    assert not torch.equal(first.tensors[name], second.tensors[name])
    read(folder, pooling="cls")  # whatever an option changes
    assert len(counted) == 3
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors"):
        read(folder)


def test_what_takes_more_than_the_limit_is_not_kept(
    tmp_path: Path, counted: list[Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (save_text_model(tmp_path / name, seed=i) for i, name in enumerate("ab"))
    monkeypatch.setattr(published_values, "KEPT_BYTES", read(one).bytes)
    read(one)
    assert len(counted) == 1
    read(two)  # the older one has to go
    read(two)
    assert len(counted) == 2
    read(one)
    assert len(counted) == 3
    monkeypatch.setattr(published_values, "KEPT_BYTES", 0)
    assert read(two).tensors
    assert len(published_values._KEPT) == 0


def test_a_digest_of_the_same_names_is_computed_once() -> None:
    values, computed = PublishedValues({"w": torch.zeros(2)}), []

    def compute() -> str:
        computed.append(1)
        return f"{len(computed)}"

    assert [values.digest(names, compute) for names in (["w"], ["w"], ["encoders.w"])] == [
        "1",
        "1",
        "2",
    ]
