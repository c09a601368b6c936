"""An augmentation that features computed once cannot have is said."""

from __future__ import annotations

import pytest

from mmx.training.events import Event, EventKind


@pytest.mark.parametrize(("augment", "said"), [("rand", 1), ("none", 0)])
def test_features_that_are_computed_once_are_said_not_to_be_augmented(
    run_in, overrides, tables, tmp_path, augment, said
):
    heard: list[Event] = []
    line = overrides(tables["one"], tables["two"], ("image", "tabular"), "control=none")
    line += ["transfer=feature", f"target.image.augment={augment}", "cache=off"]
    run_in(line, tmp_path, heard.append)
    notes = [each.text for each in heard if each.kind is EventKind.NOTE]
    assert sum("target.image.augment=none" in text for text in notes) == said
