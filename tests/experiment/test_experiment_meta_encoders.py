"""Meta encoders are made once for equal options, files and inputs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_text_model

from mmx.encoders import Encoder
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.text.transformers import Transformers
from mmx.experiment.meta_encoders import make_meta_encoder
from mmx.modalities.image import ImageSpec

pytestmark = pytest.mark.filterwarnings("ignore")


def test_equal_encoders_are_made_once() -> None:
    spec, other = (ImageSpec(height=side, width=side) for side in (16, 24))
    first = make_meta_encoder(partial(SmallCnn), spec)
    assert all(each.is_meta for each in first.parameters())
    assert make_meta_encoder(partial(SmallCnn), spec) is first
    assert make_meta_encoder(partial(SmallCnn), other) is not first
    assert make_meta_encoder(partial(SmallCnn, width=8), spec).width == 8 != first.width


def test_another_architecture_in_the_same_folder_is_made_anew(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = save_text_model(tmp_path / "tiny")
    options = {"model": str(folder), "max_tokens": 8}
    spec: Any = Transformers.read_with(None, **options).example()
    first = make_meta_encoder(partial(Transformers, **options), spec)
    assert make_meta_encoder(partial(Transformers, **options), spec) is first
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_hidden_layers": config["num_hidden_layers"] + 1}))
    second = make_meta_encoder(partial(Transformers, **options), spec)
    assert len(second.level_widths) == len(first.level_widths) + 1


def test_what_a_function_makes_is_made_anew_each_time() -> None:
    def make(spec: ImageSpec) -> Encoder:
        return SmallCnn(spec, width=8)

    spec = ImageSpec(height=16, width=16)
    first: Any = make_meta_encoder(make, spec)
    assert first.width == 8
    assert all(each.is_meta for each in first.parameters())
    assert make_meta_encoder(make, spec) is not first
