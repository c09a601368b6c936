"""What a method states of its baseline decides where a page shows it."""

from __future__ import annotations

import pytest

from mmx.explanations import METHODS
from mmx.explanations.integrated_gradients import IntegratedGradients
from mmx.reports.explanation_media import ShownMap
from mmx.reports.explanation_page import order_maps


class Path(IntegratedGradients):
    """A method of another file that counts from a baseline too."""


def test_methods_that_count_from_a_baseline_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "path", Path)
    titles = {"grad_cam": "A", "path": "C", "attention": "B", "integrated_gradients": "D"}
    maps = [ShownMap(method, title) for method, title in titles.items()]
    assert [each.method for each in order_maps(maps)] == [
        *("path", "integrated_gradients", "grad_cam", "attention")
    ]
