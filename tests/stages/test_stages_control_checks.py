"""Controls that cannot start are refused before anything is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mmx.errors import TransferError
from mmx.stages.pipeline import controls
from mmx.transfer import Source


def make_bench(*names: str) -> Any:
    experiment = SimpleNamespace(controls=names)
    return SimpleNamespace(context=SimpleNamespace(experiment=experiment))


def test_each_control_is_asked_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Source]] = []

    class Trainer:
        def __init__(self, name: str, bench: Any) -> None:
            self.name = name

        def check(self, source: Source) -> None:
            asked.append((self.name, source))
            if self.name == "third":
                raise TransferError("does not fit")

    names = ("second", "first", "third", "fourth")
    monkeypatch.setattr(controls, "TRAINERS", dict.fromkeys(names, Trainer))
    source = Source({}, ())
    controls.check_controls(make_bench("second", "first"), source)
    assert asked == [("second", source), ("first", source)]
    with pytest.raises(TransferError, match="does not fit"):
        controls.check_controls(make_bench("third", "fourth"), source)
    assert asked[2:] == [("third", source)]
