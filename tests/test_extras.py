"""Libraries that only some runs need are named by an extra that installs them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
from tiny_models import save_text_model

from mmx.encoders.image.timm import Timm
from mmx.encoders.text.transformers import Transformers
from mmx.errors import DataError
from mmx.extras import import_extra

ROOT = Path(__file__).parents[1]
CALL = re.compile(r"import_extra\(\s*\"([\w.]+)\",\s*\"(\w+)\"\s*[,)]")


def find_calls() -> list[tuple[str, str]]:
    """Return (module, extra) of every call in mmx."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "mmx").rglob("*.py")))
    return sorted({found for text in texts for found in CALL.findall(text)})


def test_every_extra_that_is_advised_exists() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    calls = find_calls()
    assert len(calls) > 5
    assert {extra for _, extra in calls} <= extras


def test_an_absent_library_is_named_with_its_extra() -> None:
    with pytest.raises(DataError, match="needs nowhere_to_be_found, which is not installed") as got:
        import_extra("nowhere_to_be_found.part", "timm")
    assert got.value.tip == "pip install 'mmx[timm]'"
    with pytest.raises(DataError, match="reading videos needs nowhere_to_be_found"):
        import_extra("nowhere_to_be_found", "video", "reading videos")


def test_libraries_say_nothing_while_published_weights_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file of other names makes timm list them all, and transformers draws a bar for each."""
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("test_resnet").state_dict()
    other = tmp_path / "other.pth"
    torch.save({f"their_{name}": value for name, value in theirs.items()}, other)
    image = {"model": "test_resnet", "weights": str(other)}
    text = {"model": str(save_text_model(tmp_path / "text")), "max_tokens": 8}
    for kind, options in ((Timm, image), (Transformers, text)):
        capfd.readouterr()
        reader = kind.read_with(None, **options)
        found = kind(reader.example(), **options).read_published(kind.find_published(**options))
        assert found
        assert capfd.readouterr().err == ""
    assert caplog.records == []
    assert logging.getLogger("timm").level == logging.NOTSET
    bars = pytest.importorskip("transformers.utils.logging")
    assert bars.is_progress_bar_enabled()
