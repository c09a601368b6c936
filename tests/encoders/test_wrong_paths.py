"""Paths that lead to no published model: what they hold is named, with what to type."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from tiny_models import save_text_model, save_vit

from mmx.encoders import Encoder
from mmx.encoders.hub import find_model_folder
from mmx.encoders.image.timm import Timm
from mmx.encoders.image.transformers import Transformers as ImageTransformers
from mmx.encoders.published import Published, read_tensors
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.errors import DataError
from mmx.experiment.fitting import describe_encoder_error


def refuse(path: Path, kind: type[Encoder] = TextTransformers) -> tuple[str, str | None]:
    """Return the message and the tip with which an encoder refuses a path."""
    with pytest.raises(DataError) as error:
        kind.read_with(None, model=str(path)).example()  # type: ignore[union-attr]
    return error.value.message, error.value.tip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny BERT."""
    return save_text_model(tmp_path_factory.mktemp("models") / "tiny")


def copy_of(model: Path, folder: Path, *names: str) -> Path:
    """Return a new folder with some files of a model."""
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes((model / name).read_bytes())
    return folder


def test_a_folder_beside_the_model_leads_to_it(model: Path) -> None:
    inner = model / "1_Pooling"
    inner.mkdir()
    (inner / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    reason, tip = refuse(inner)
    assert reason.startswith(f"{inner / 'config.json'}: no architecture that transformers knows: ")
    assert tip == f"model={model}"
    problem = describe_encoder_error("encoder.text", DataError(reason, tip=tip))
    assert problem.type_this == f"encoder.text.model={model}"


def test_a_folder_above_the_model_leads_to_it(model: Path, tmp_path: Path) -> None:
    inner = copy_of(model, tmp_path / "0_Transformer", "config.json")
    (tmp_path / "1_Pooling").mkdir()
    assert refuse(tmp_path) == (f"{tmp_path} holds no config.json", f"model={inner}")
    copy_of(model, tmp_path / "2_Transformer", "config.json")  # which of the two is meant?
    assert refuse(tmp_path)[1] == "the folder that save_pretrained writes"


def test_a_file_of_the_model_leads_to_its_folder(model: Path) -> None:
    file = model / "model.safetensors"
    assert refuse(file) == (f"model={file}: is a file, and not the folder", f"model={model}")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.gguf", "a file of llama.cpp, which is not read"),
        ("a.onnx", "a file of ONNX, which is not read"),
        ("a.h5", "a file of Keras, which is not read"),
        ("a.bin", "a file, and not a folder"),
    ],
)
def test_files_of_other_libraries_are_named(tmp_path: Path, name: str, what: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"GGUF")
    with pytest.raises(DataError) as error:
        find_model_folder(str(file))
    assert error.value.message == f"model={file}: is {what}"
    assert error.value.tip == "model=<folder>, one with config.json and *.safetensors"


def test_a_folder_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.gguf").write_bytes(b"GGUF")
    reason = f"{tmp_path} holds no config.json; net.gguf cannot be read"
    assert refuse(tmp_path) == (reason, "model=<folder>, one with config.json and *.safetensors")


def test_weights_of_another_format_are_named(model: Path, tmp_path: Path) -> None:
    folder = copy_of(model, tmp_path / "keras", "config.json", "tokenizer.json")
    (folder / "tf_model.h5").write_bytes(b"\x89HDF")
    published = TextTransformers.find_published(model=str(folder))
    assert published is not None
    assert published.absent == f"put its weights into {folder}; tf_model.h5 cannot be read"


def test_an_adapter_leads_to_its_model(model: Path, tmp_path: Path) -> None:
    adapter = {"peft_type": "LORA", "base_model_name_or_path": str(model)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    reason, tip = refuse(tmp_path)
    assert reason == f"{tmp_path} holds an adapter of peft, and no model"
    problem = describe_encoder_error("encoder.text_front", DataError(reason, tip=tip))
    typed = f"encoder.text_front.model={model} encoder.text_front.adapter={tmp_path}"
    assert problem.type_this == typed


@pytest.mark.parametrize("kind", [TextTransformers, ImageTransformers])
def test_a_folder_of_timm_leads_to_timm(tmp_path: Path, kind: type[Encoder]) -> None:
    config = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 32, 32]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    reason = f"{tmp_path} holds a network of timm (resnet18), which reads images"
    assert refuse(tmp_path, kind) == (reason, "encoder/image=timm")


def test_a_folder_of_transformers_leads_away_from_timm(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    reason, tip = refuse(folder, Timm)
    assert "does not say how timm makes its model" in reason
    assert tip == "encoder/image=transformers   (of a folder of transformers)"


def test_a_weight_file_is_no_architecture_of_timm(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.save({}, file)
    reason, tip = refuse(file, Timm)
    assert reason == f"model={file}: is a file; timm is told the architecture and the weights"
    assert tip == f"encoder.image.model=<architecture> encoder.image.weights={file}"


def test_code_of_a_repository_is_named_and_not_run(model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModel": "mine.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    reason, tip = refuse(tmp_path)
    path = tmp_path / "config.json"
    assert reason == f"{path}: a model that brings code of its own, which is not run"
    assert (
        tip == "the folder that save_pretrained writes, of an architecture of transformers itself"
    )
    assert not (tmp_path / "ran").exists()


def test_a_model_without_its_tokenizer_is_refused(model: Path, tmp_path: Path) -> None:
    """The library makes a tokenizer of special tokens alone: every word would be unknown."""
    folder = copy_of(model, tmp_path / "bare", "config.json", "model.safetensors")
    reason, tip = refuse(folder)
    lacks = "there is none of vocab.txt, tokenizer.json"
    assert reason == f"{folder}: holds no tokenizer that can be read: {lacks}"
    assert tip is not None
    assert tip.startswith("a folder with tokenizer.json")


class Runs:
    """What runs a command where a pickle is loaded without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.bin", None, "not tensors alone: other Python objects might run code, and are not read"),
        (
            "a.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a pointer of Git LFS in place of the file: git lfs pull fetches it",
        ),
        ("a.h5", b"\x89HDF\r\n", "a file of Keras"),
    ],
)
def test_why_weights_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    file = tmp_path / name
    if content is None:
        torch.save({"net": Runs()}, file)
    else:
        file.write_bytes(content)
    published = Published.of_file(str(file))
    assert published is not None
    with pytest.raises(DataError) as error:
        read_tensors(published)
    assert error.value.message == f"{file}: cannot be read as weights: {why}"


def test_a_cut_file_is_said_to_be_cut(model: Path, tmp_path: Path) -> None:
    names = ("config.json", "tokenizer.json", "model.safetensors")
    folder = copy_of(model, tmp_path / "cut", *names)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    reader = TextTransformers.read_with(None, model=str(folder), max_tokens=8)
    encoder = TextTransformers(reader.example(), model=str(folder), max_tokens=8)
    published = TextTransformers.find_published(model=str(folder))
    assert published is not None
    with pytest.raises(DataError, match=r"cannot be read: .*; the file is cut or damaged$"):
        encoder.read_published(published)
