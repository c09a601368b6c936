"""A config in canonical form, and configs that are read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmx.config import compose
from mmx.config.locate import list_groups
from mmx.errors import ConfigError, RunError
from mmx.experiment import assemble
from mmx.runs.directory import read_config


@pytest.fixture(scope="module")
def composer():
    with compose.composer():
        yield lambda *overrides: compose.compose_job(overrides).config


def test_only_what_the_run_reads_is_kept(composer):
    experiment = assemble(composer())
    assert list(experiment.config["encoder"]) == ["image", "audio"]
    others = {name.partition("/")[2] for name in list_groups() if name.startswith("encoder/")}
    assert experiment.dropped == {
        f"encoder.{name}": f"no task of this run has {name}" for name in others - {"image", "audio"}
    }
    assert list(experiment.encoders) == ["audio", "image"]
    assert {role: list(them) for role, them in experiment.modalities.items()} == {
        "source": ["image"],
        "target": ["image", "audio"],
    }
    assert experiment.controls == ("scratch",)


def test_a_source_that_nothing_is_taken_from_is_dropped(composer):
    experiment = assemble(composer("transfer=scratch", "source=fsdd", "target=digits"))
    assert experiment.source is None
    assert experiment.config["source"] is None
    assert experiment.dropped["source"] == "this transfer mode takes nothing from a source"
    assert list(experiment.config["encoder"]) == ["image"]
    assert experiment.controls == ()


def test_without_a_source_there_is_nothing_to_compare_with(composer):
    experiment = assemble(composer("source=none"))
    assert experiment.config["transfer"] == {"_target_": "mmx.transfer.scratch.Scratch"}
    assert experiment.config["control"] == "none"
    assert experiment.dropped["transfer"] == "there is no source to transfer from"
    assert experiment.dropped["control"] == (
        "the run itself is from scratch: there is nothing to compare it with"
    )


def test_the_canonical_config_assembles_to_itself(composer, tmp_path):
    for overrides in ([], ["source=none"], ["transfer=structure", "fusion=gmu"]):
        first = assemble(composer(*overrides))
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(first.config, sort_keys=False))
        again = assemble(read_config(file))
        assert again.config == first.config
        assert again.fingerprint == first.fingerprint


def test_paths_are_absolute_so_that_another_folder_reads_the_same(composer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = composer(
        "source=published",
        "data_dir=data",
        "target=table",
        "target.path=t.csv",
        "target.label=y",
        "target.columns={image: p}",
        "target.root='~/pictures'",
        "encoder/image=resnet18",
        "encoder.image.weights=w.pth",
    )
    found = assemble(config).config
    assert found["data_dir"] == str(tmp_path / "data")
    assert found["target"]["path"] == str(tmp_path / "t.csv")
    assert found["target"]["root"] == str(tmp_path / "home" / "pictures")
    assert found["encoder"]["image"]["weights"] == str(tmp_path / "w.pth")
    assert config["target"]["path"] == "t.csv"  # what was given is left alone


def test_assembling_opens_nothing_and_draws_nothing(composer, monkeypatch):
    import torch

    config = composer()
    monkeypatch.setattr("mmx.tasks.Task.load", lambda task: pytest.fail("opened"))
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail("opened"))
    before = torch.random.get_rng_state()
    assemble(config)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("target", None, "target=null: expected a node with _target_"),
        ("target", "digits", "target=digits: expected a node with _target_"),
        ("encoder", None, "encoder=None: expected a node for each modality"),
        ("encoder", {}, "source=digits: has image, and no encoder for it is chosen"),
        ("trainer", None, "trainer=null: expected a mapping"),
        ("extra", 1, "extra=1: no code reads this key"),
        (3, 1, "3=1: no code reads this key"),
    ],
)
def test_a_config_that_no_composer_made(composer, key, value, said):
    with pytest.raises(ConfigError) as caught:
        assemble({**composer(), key: value})
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["target", "fusion", "transfer", "objective", "optimizer"])
def test_a_config_with_a_part_left_out(composer, key):
    config = composer()
    del config[key]
    with pytest.raises(ConfigError) as caught:
        assemble(config)
    assert f"{key}=null: expected a node with _target_" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {b: [1, '${oc.env:HOME}']}", "holds an interpolation at a.b[1]"),
        ("a: ${seed}", "holds an interpolation at a:"),
        ("a: x${b}y", "holds an interpolation at a:"),
        ("a: !!python/object/apply:os.system ['touch pwned']", "is not YAML"),
        ("a: !!python/name:os.system", "is not YAML"),
        ("a: !!python/module:os", "is not YAML"),
        ("- a", "holds a list"),
        ("", "holds nothing"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_config_that_is_read_back_is_data(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(RunError) as caught:
        read_config(file)
    assert said in str(caught.value)
    assert not Path("pwned").exists()


def test_hydras_own_node_is_not_read_back(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("seed: 1\nhydra: {callbacks: {x: {_target_: os.system}}}\n")
    assert read_config(file) == {"seed": 1}


@pytest.mark.slow
def test_checking_how_parts_fit_does_not_import_torchs_compiler(tmp_path):
    """It takes seconds, and every start of ``mmx`` would pay for it."""
    script = """
import sys
from mmx.config import compose
from mmx.experiment import assemble
table = ["target=table", "target.path=x", "target.label=y", "source=none"]
lines = [[], ["source=none", "target=fsdd", "encoder/audio=logmel_lstm"]]
texts = {"lstm": "gmu", "text_cnn": "hierarchical", "embedding_mean": "weighted_sum"}
table.append("target.columns={text: a, image: b, tabular: c}")
lines += [[*table, f"encoder/text={text}", f"fusion={fusion}"] for text, fusion in texts.items()]
with compose.composer():
    for line in lines:
        assemble(compose.compose_job(line).config)
        assert "torch._dynamo" not in sys.modules, line
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
