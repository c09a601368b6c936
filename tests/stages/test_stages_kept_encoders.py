"""A run on features of the cache does not make its frozen encoders, and gives the same numbers."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_text_model

from mmx.encoders.meta_encoder import MetaEncoder
from mmx.encoders.text.transformers import Transformers
from mmx.library_facts import keep_library_facts
from mmx.runs.directory import RunDirectory
from mmx.stage_id import StageId
from mmx.training import checkpoint

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

Line = Callable[..., list[str]]
RunIn = Callable[[list[str], Path], RunDirectory]


@pytest.fixture(autouse=True)
def _forget_facts() -> Any:
    yield
    keep_library_facts(None)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_text_model(tmp_path / "models" / "tiny")


@pytest.fixture
def line(
    tables: dict[str, Path], overrides: Callable[..., list[str]], model: Path, tmp_path: Path
) -> Line:
    def make(*more: str, cache: str | None = None) -> list[str]:
        plain = [
            each
            for each in overrides(None, tables["two"], ("text", "tabular"))
            if not each.startswith(("source=", "encoder/text", "encoder.text", "cache="))
        ]
        text = ["encoder/text=transformers", f"encoder.text.model={model}"]
        given = cache or str(tmp_path / "cache")
        return [
            "source=published",
            *plain,
            *text,
            "encoder.text.max_tokens=8",
            "transfer=feature",
            "control=none",
            f"cache={given}",
            *more,
        ]

    return make


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets an entry for each encoder that is made with values."""
    found: list[bool] = []
    usual = Transformers.__init__

    @functools.wraps(usual)
    def count(self: Transformers, *arguments: Any, **options: Any) -> None:
        usual(self, *arguments, **options)
        if not next(self.parameters()).is_meta:
            found.append(True)

    monkeypatch.setattr(Transformers, "__init__", count)
    return found


def read_numbers(run: RunDirectory) -> dict[str, Any]:
    """Return all that a run has found, but for seconds and its own name."""
    tensors, facts = checkpoint.read_checkpoint(run.stage_file(StageId.TARGET))
    facts["fitted"].pop("seconds", None)
    facts["fitted"] = {k: v for k, v in facts["fitted"].items() if k not in ("samples_per_s",)}
    facts["fitted"].pop("history", None)
    summary = run.summary()
    return {
        "tensors": {name: each.tolist() for name, each in tensors.items()},
        "facts": facts,
        "target": summary["target"],
        "params": summary["params"],
        "transfer": summary["transfer"],
        "cost": summary["cost"],
        "notes": summary["notes"],
        "transfer.json": json.loads((run.path / "transfer.json").read_text()),
        "identity": run.manifest().identity.weights,
    }


def test_a_second_run_makes_no_encoder_and_finds_the_same(
    line: Line, run_in: RunIn, tmp_path: Path, made: list[bool]
) -> None:
    first = run_in(line("seed=5"), tmp_path / "outputs")
    assert made
    made.clear()
    second = run_in(line("seed=5"), tmp_path / "outputs")
    assert not made
    run_in(line("seed=6"), tmp_path / "outputs")  # of other rows, and of other draws
    made.clear()
    other = run_in(line("seed=6"), tmp_path / "outputs")
    assert not made
    for run, seed in ((first, 5), (second, 5), (other, 6)):
        without = run_in(line(f"seed={seed}", cache="off"), tmp_path / "outputs")
        assert read_numbers(run) == read_numbers(without)
        assert list(checkpoint.read_facts(run.stage_file("target"))["published"]) == ["text"]
    assert made


def test_an_encoder_is_made_for_features_that_are_not_there(
    line: Line, run_in: RunIn, tmp_path: Path, made: list[bool]
) -> None:
    run_in(line("seed=5"), tmp_path / "outputs")
    made.clear()
    more = "fusion=cross_attention"  # reads tokens, which no run has computed yet
    found = run_in(line("seed=5", more), tmp_path / "outputs")
    assert made
    alone = run_in(line("seed=5", more, cache="off"), tmp_path / "outputs")
    assert read_numbers(found) == read_numbers(alone)


def test_replaced_weights_are_noticed(
    line: Line, run_in: RunIn, tmp_path: Path, model: Path, made: list[bool]
) -> None:
    first = run_in(line(), tmp_path / "outputs")
    other = save_text_model(tmp_path / "models" / "other", seed=7)
    (other / "model.safetensors").replace(model / "model.safetensors")
    made.clear()
    second = run_in(line(), tmp_path / "outputs")
    assert made
    alone = run_in(line(cache="off"), tmp_path / "outputs")
    assert read_numbers(second) == read_numbers(alone)
    one, two = (checkpoint.read_facts(each.stage_file("target")) for each in (first, second))
    assert one["published"]["text"]["bits"] != two["published"]["text"]["bits"]


def test_controls_that_read_the_source_still_do(
    line: Line, run_in: RunIn, tmp_path: Path, made: list[bool]
) -> None:
    run_in(line(), tmp_path / "outputs")
    made.clear()
    words = ("control=[scratch,linear_probe]",)
    found = run_in(line(*words), tmp_path / "outputs")
    assert made
    alone = run_in(line(*words, cache="off"), tmp_path / "outputs")
    assert read_numbers(found) == read_numbers(alone)
    assert found.summary()["gains"] == alone.summary()["gains"]


def test_damaged_facts_are_found_anew(
    line: Line, run_in: RunIn, tmp_path: Path, made: list[bool]
) -> None:
    first = run_in(line(), tmp_path / "outputs")
    for kind in ("facts", "encoder"):
        for path in (tmp_path / "cache" / kind).glob("*/*/tensors.safetensors"):
            path.write_bytes(path.read_bytes()[:-3] + b"abc")
    made.clear()
    assert read_numbers(run_in(line(), tmp_path / "outputs")) == read_numbers(first)
    assert made


@pytest.mark.slow
def test_the_library_is_not_imported(line: Line, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mmx.cli import main\nassert main(sys.argv[1:]) == 0\n"
        "names = ('transformers', 'timm', 'torchvision', 'torch._dynamo')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    words = ["train", *line(f"output_dir={tmp_path / 'out'}")]
    said = [
        subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ,
        ).stdout
        for _ in range(2)
    ]
    assert "transformers" in said[0].splitlines()[-1]
    assert said[1].splitlines()[-1] == "[]"


def test_a_meta_encoder_becomes_the_real_one_in_place(model: Path) -> None:
    from mmx.encoders.meta_encoder import describe_encoder

    options = {"model": str(model), "max_tokens": 8}
    spec: Any = Transformers.read_with(None, **options).example()
    real = Transformers(spec, **options)
    facts = json.loads(json.dumps(describe_encoder(real)))
    stand_in = MetaEncoder(facts, lambda: Transformers(spec, **options))
    assert [*stand_in.state_dict()] == [*real.state_dict()]
    assert [n for n, _ in stand_in.named_parameters()] == [n for n, _ in real.named_parameters()]
    assert all(each.is_meta for each in stand_in.state_dict().values())
    assert (stand_in.width, stand_in.level_widths) == (real.width, real.level_widths)
    assert stand_in.input_tensors() == real.input_tensors()
    for parameter in stand_in.requires_grad_(False).eval().to("cpu").parameters():
        assert parameter.is_meta  # there is nothing to move
    with pytest.raises((RuntimeError, NotImplementedError)):
        next(stand_in.parameters()).sum().item()
    torch.manual_seed(1)
    features = stand_in(torch.tensor([[2, 5, 6, 3]]), torch.tensor([4]))
    torch.manual_seed(1)
    expected = Transformers(spec, **options).eval()(torch.tensor([[2, 5, 6, 3]]), torch.tensor([4]))
    assert torch.equal(features.pooled, expected.pooled)
    assert type(stand_in) is Transformers
    assert not stand_in.training
    assert not any(each.requires_grad for each in stand_in.parameters())
    assert stand_in.depths() == real.depths()
