"""LoRA weights that were trained on published weights, written as the library peft writes them.

    RUN/adapters/<modality>/adapter_config.json
    RUN/adapters/<modality>/adapter_model.safetensors

``peft.PeftModel.from_pretrained`` puts them on the published model, outside mmx. Norms that have
trained beside them are ``modules_to_save``. An update that peft has no name for, such as that of a
fused projection, is left out, and a note says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from mmx.encoders.peft_adapter import CONFIG, PREFIX, TENSORS
from mmx.encoders.published import Published
from mmx.json_object import Json
from mmx.runs.atomic import make_folder, write_json
from mmx.stage_id import Role
from mmx.stages.core.context import Context, Trained
from mmx.stages.core.stage import GivenSource
from mmx.transfer.adapters import LowRankUpdate, base_name

FOLDER = "adapters"
LAYERS = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass
class PeftLayout:
    """Trained adapters of one encoder, in the layout of peft.

    Attributes:
        scale: What B A is multiplied by.
        updates: Module, as the library names it, to A and B in the library's shapes.
        whole: Module to its tensors, of those that trained as a whole.
        left_out: What peft has no name for.
    """

    scale: float = 1.0
    updates: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    whole: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def rank(self) -> int:
        """The largest rank of an update; where a layer bounds its rank, zeros fill it up."""
        return max(down.shape[0] for down, _ in self.updates.values())

    def config(self, published: Published) -> Json:
        """Return the content of ``adapter_config.json``."""
        alpha = self.scale * self.rank
        return {
            "peft_type": "LORA",
            "task_type": None,
            "base_model_name_or_path": published.origin,
            "revision": published.revision,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
            "target_modules": sorted(self.updates),
            "modules_to_save": sorted(self.whole) or None,
        }

    def tensors(self, modules: nn.Module, own: str, library: str) -> dict[str, Tensor]:
        """Return the content of ``adapter_model.safetensors``.

        Args:
            modules: The encoder, whose layers say which layout an update has.
            own: What names start with in the encoder.
            library: What they start with in the library's model.
        """
        found: dict[str, Tensor] = {}
        for name, (down, up) in self.updates.items():
            missing = self.rank - down.shape[0]
            down = torch.cat([down, down.new_zeros(missing, down.shape[1])])
            up = torch.cat([up, up.new_zeros(up.shape[0], missing)], dim=1)
            layer, start = modules.get_submodule(own + name.removeprefix(library)), PREFIX + name
            if isinstance(layer, nn.Embedding):  # there it is (B A)ᵀ
                found[f"{start}.lora_embedding_A"] = up.T
                found[f"{start}.lora_embedding_B"] = down.T
                continue
            if not isinstance(layer, nn.Linear):  # B of a convolution is one of kernel 1
                kernel = getattr(layer, "weight").shape[1:]  # noqa: B009
                down = down.view(-1, *kernel)
                up = up.view(*up.shape, *[1] * (len(kernel) - 1))
            found[f"{start}.lora_A.weight"], found[f"{start}.lora_B.weight"] = down, up
        for name, tensors in self.whole.items():
            found |= {f"{PREFIX}{name}.{key}": value for key, value in tensors.items()}
        return {name: value.contiguous() for name, value in found.items()}


def write_adapters(context: Context, target: Trained, given: GivenSource | None) -> list[str]:
    """Write the LoRA weights of a trained target, and return notes about them.

    Args:
        context: Of the run.
        target: The trained target.
        given: The published weights that it started from; None where it started from none.
    """
    notes = []
    start = context.experiment.start.of(Role.TARGET)
    for name, encoder in target.model.encoders.items():
        prefixes: tuple[str, str] | None = getattr(encoder, "library_prefixes", None)
        if prefixes is None or not any(isinstance(m, LowRankUpdate) for m in encoder.modules()):
            continue
        published = start.get(name)
        if given is None or published is None or published.adapter:
            notes.append(
                f"{name}: the adapters are not written in peft's layout, since their encoder did "
                "not start from published weights alone"
            )
            continue
        prefix = f"encoders.{name}."
        before = {
            key.removeprefix(prefix): value
            for key, value in given.source.state.items()
            if key.startswith(prefix)
        }
        layout = find_layout(encoder, before, *prefixes)
        if layout.updates:
            folder = context.directory.path / FOLDER / name
            make_folder(folder)
            _write_tensors(folder / TENSORS, layout.tensors(encoder, *prefixes))
            write_json(folder / CONFIG, layout.config(published))
            notes.append(f"{name}: {FOLDER}/{name} holds the adapters in peft's layout")
        if layout.left_out:
            notes.append(
                f"WARNING: {name}: {len(layout.left_out)} trained parts have no name in peft and "
                f"are not in {FOLDER}/{name}: {', '.join(layout.left_out[:5])}"
            )
    return notes


def find_layout(
    encoder: nn.Module, before: Mapping[str, Tensor], own: str, library: str
) -> PeftLayout:
    """Return the trained adapters of an encoder in peft's layout.

    Args:
        encoder: With :class:`~mmx.transfer.adapters.LowRankUpdate` in it.
        before: Its published values, by their names without adapters.
        own: What names start with in the encoder.
        library: What they start with in the library's model.
    """
    layout = PeftLayout()
    changed = set(_list_changed(encoder, before, own))
    updates = {n: m for n, m in encoder.named_modules() if isinstance(m, LowRankUpdate)}
    layout.scale = next(iter(updates.values())).scale
    for place, update in updates.items():
        name, _, weight = place.partition(".parametrizations.")
        if weight != "weight.0" or f"{name}.weight" in changed or not _has_name(encoder, name, own):
            layout.left_out.append(f"{name}.{weight.split('.')[0]}")
            continue
        up = update.up.detach().cpu() * (update.scale / layout.scale)
        layout.updates[library + name.removeprefix(own)] = update.down.detach().cpu(), up
        changed.discard(f"{name}.weight")
    for name in sorted({key.rpartition(".")[0] for key in changed}):
        there = library + name.removeprefix(own)
        module = encoder.get_submodule(name) if name != own.rstrip(".") else encoder
        if there in layout.updates or any(module.children()):
            layout.left_out += [key for key in sorted(changed) if key.rpartition(".")[0] == name]
        else:
            state = module.state_dict()
            layout.whole[there] = {key: state[key].detach().cpu().clone() for key in state}
    return layout


def _list_changed(encoder: nn.Module, before: Mapping[str, Tensor], own: str) -> Iterator[str]:
    """Yield the encoder's tensors, without adapters, that are not the published ones."""
    added = {
        f"{name}.{key}"
        for name, module in encoder.named_modules()
        if isinstance(module, LowRankUpdate)
        for key in module.state_dict()
    }
    for name, value in encoder.state_dict().items():
        plain = base_name(name)
        if name in added or not plain.startswith(own):
            continue
        if plain not in before or not torch.equal(value.cpu(), before[plain].cpu()):
            yield plain


def _has_name(encoder: nn.Module, name: str, own: str) -> bool:
    """Return whether peft can put an update on a module."""
    layer = encoder.get_submodule(name)
    # An attention of torch reads the weight of its projection, and never calls the layer.
    holder = encoder.get_submodule(name.rpartition(".")[0])
    return (
        name.startswith(own)
        and isinstance(layer, LAYERS)
        and getattr(layer, "groups", 1) == 1
        and not isinstance(holder, nn.MultiheadAttention)
    )


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors, atomically."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:
        file.write(save(tensors, metadata={"format": "pt"}))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
