"""What the doctor finds, and its advice."""

from __future__ import annotations

import importlib

import pytest

from mmx.cli import main


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def run():
        code = main(["doctor"])
        out, err = capsys.readouterr()
        assert err == ""
        return code, out.splitlines()

    return run


def line(lines, name):
    (found,) = [each for each in lines if each[:5].strip() and each[5:22].strip() == name]
    return found


def test_all_is_well(doctor, tmp_path, monkeypatch):
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    monkeypatch.setenv("MMX_DATA_DIR", str(tmp_path / "data"))
    code, lines = doctor()
    assert code == 0
    for name in ("python", "torch", "torchvision", "torchaudio", "hydra-core", "scikit-learn"):
        assert line(lines, name).startswith("ok")
    assert " threads of " in line(lines, "cpu")
    assert "with precision=auto -> " in line(lines, "device=auto")
    assert line(lines, "data").endswith(f"{tmp_path / 'data'} (MMX_DATA_DIR): cifar10")
    assert line(lines, "cached weights").endswith(f"none in {tmp_path / 'torch/hub/checkpoints'}")
    assert " GB free at " in line(lines, "outputs")


def test_no_data_folder_is_a_note(doctor, tmp_path, monkeypatch):
    monkeypatch.setenv("MMX_DATA_DIR", str(tmp_path / "none"))
    code, lines = doctor()
    assert code == 0
    at = lines.index(f"note data             {tmp_path / 'none'} does not exist (MMX_DATA_DIR)")
    assert lines[at + 1] == (
        "     -> digits and digits_av need no data; for others set MMX_DATA_DIR, or download=true"
    )


@pytest.mark.parametrize(
    ("package", "module", "advice"),
    [
        (
            "torchvision",
            "torchvision",
            "torch, torchvision and torchaudio must match: scripts/demo locks a trio",
        ),
        ("soundfile", "soundfile", "pip install soundfile"),
        ("scikit-learn", "sklearn", "pip install scikit-learn"),
    ],
)
def test_a_package_that_does_not_load(doctor, monkeypatch, package, module, advice):
    load = importlib.import_module

    def broken(name, *rest):
        if name == module:
            raise RuntimeError("operator torchvision::nms does not exist")
        return load(name, *rest)

    monkeypatch.setattr(importlib, "import_module", broken)
    code, lines = doctor()
    assert code == 1
    assert [each for each in lines if each.startswith("bad")] == [
        f"bad  {package:16s} does not load: operator torchvision::nms does not exist"
    ]
    assert lines[lines.index(line(lines, package)) + 1] == f"     -> {advice}"


def test_a_look_that_breaks_does_not_hide_the_others(doctor, monkeypatch):
    def broken(path):
        raise OSError("no such disk")

    monkeypatch.setattr("shutil.disk_usage", broken)
    code, lines = doctor()
    assert code == 1
    assert "bad  disk             OSError: no such disk" in lines
    assert line(lines, "device=auto").startswith("ok")
