"""What a path holds that leads to no published model, and what to type in its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmx.encoders.exported_tensors import WEIGHT_SUFFIXES
from mmx.errors import DataError, UnreadableFileError
from mmx.json_object import Json
from mmx.stand_ins import find_stand_in_at
from mmx.untrusted import read_json

OTHER_FORMATS = {
    ".gguf": "llama.cpp",
    ".ggml": "llama.cpp",
    ".onnx": "ONNX",
    ".h5": "Keras",
    ".keras": "Keras",
    ".tflite": "TensorFlow Lite",
    ".ckpt": "a training checkpoint",
    ".msgpack": "Flax",
    ".mlmodel": "Core ML",
}
"""Suffixes of weights that nothing here reads, and whose format they are."""
WANTED = "model=<folder>, one with config.json and *.safetensors"


def explain_file(model: str, path: Path) -> DataError:
    """Return the error of a file in the place of a model's folder."""
    if (near := _find_near(path)) is not None:
        return DataError(f"model={model}: is a file, and not the folder", tip=f"model={near}")
    known = OTHER_FORMATS.get(path.suffix.lower())
    what = f"a file of {known}, which is not read" if known else "a file, and not a folder"
    return DataError(f"model={model}: is {what}", tip=WANTED)


def explain_folder(folder: Path, reason: str, tip: str) -> DataError:
    """Return the error of a folder that cannot be read as one of transformers.

    Args:
        folder: The folder.
        reason: What is wrong with it, as its reader says; it begins with the path.
        tip: What to type where the folder is one of transformers, or of nothing known.
    """
    if _read_type(folder):
        return DataError(reason, tip=tip)
    for found, leads_to in _recognise(folder):
        return DataError(f"{folder} {found}", tip=leads_to)
    if (near := _find_near(folder)) is not None:
        return DataError(reason, tip=f"model={near}")
    return DataError(reason, tip=tip)


def explain_weights(path: Path, error: Exception) -> str:
    """Return why weights cannot be read, in a line.

    Args:
        path: A file with weights, or the folder that holds them.
        error: What the reader of the file says.
    """
    files = (
        [path]
        if path.is_file()
        else sorted(p for p in path.glob("*") if p.suffix in WEIGHT_SUFFIXES)
    )
    for file in files:
        if (known := find_other_format(file)) is not None:
            return known
    said = str(error)
    if "weights_only" in said or "Weights only" in said:
        return "not tensors alone: other Python objects might run code, and are not read"
    reason = said.splitlines()[0] if said else type(error).__name__
    cut = "; the file is cut or damaged" if "deserializing header" in reason else ""
    return f"{reason}{cut}"


def find_other_format(file: Path) -> str | None:
    """Return what a file is in place of tensors, as its name or its first bytes say, or None."""
    if (known := OTHER_FORMATS.get(file.suffix.lower())) is not None:
        return f"a file of {known}"
    return find_stand_in_at(file)


def name_other_formats(folder: Path) -> str:
    """Return the weights of a folder that nothing here reads, for a message; empty for none."""
    others = sorted(p.name for p in folder.glob("*") if p.suffix.lower() in OTHER_FORMATS)
    return f"; {', '.join(others[:3])} cannot be read" if others else ""


def _recognise(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what a folder is that is none of transformers, and what to type."""
    adapter = _read(folder / "adapter_config.json")
    if adapter:
        base = adapter.get("base_model_name_or_path") or "<folder>"
        yield "holds an adapter of peft, and no model", f"model={base} adapter={folder}"
    config = _read(folder / "config.json")
    if "architecture" in config:
        named = config["architecture"]
        yield f"holds a network of timm ({named}), which reads images", "encoder/image=timm"
    if (folder / "open_clip_config.json").is_file():
        yield "holds a pair of open_clip", "encoder/image=open_clip   (or encoder/text=open_clip)"
    others = name_other_formats(folder)
    if others and not config:
        yield f"holds no config.json{others}", WANTED


def _find_near(path: Path) -> Path | None:
    """Return the folder above a path that holds a model, or the only one in it that does."""
    if _read_type(path.parent):
        return path.parent
    inside = [each for each in path.glob("*/") if _read_type(each)] if path.is_dir() else []
    return inside[0] if len(inside) == 1 else None


def _read_type(folder: Path) -> str | None:
    """Return the architecture that a folder's config.json names; None where it names none."""
    found = _read(folder / "config.json").get("model_type")
    return found if isinstance(found, str) else None


def _read(path: Path) -> Json:
    """Return what a file of JSON says; empty where it is none."""
    try:
        found: Json = read_json(path, dict)
    except (OSError, UnreadableFileError):
        return {}
    return found
