"""Published image networks of the library timm: CNNs and vision transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmx.encoders.gradient_checkpointing import checkpoint_timm
from mmx.encoders.hub import Folder, find_model_folder
from mmx.encoders.image.hub_image_encoder import HubImageEncoder, ImageSide, Preprocessing
from mmx.encoders.normalize import Normalize
from mmx.encoders.padding import step_mask
from mmx.encoders.peft_adapter import add_adapter
from mmx.encoders.published import Published, read_tensors
from mmx.errors import DataError, closest
from mmx.extras import import_extra, keep_quiet
from mmx.hub_cache import REPOSITORY
from mmx.json_object import Json
from mmx.library_facts import recall_facts
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class Timm(HubImageEncoder):
    """An image network of timm's, of the architecture that its name or its folder states.

    Use it for images in the place of ``small_cnn`` where there are published weights. Its other
    options are those of :class:`~mmx.encoders.image.hub_image_encoder.HubImageEncoder`.

    ``levels`` are the spatial means of the network's stages, ``tokens`` the pixels or patches of
    the last, ``pooled`` what the network's own head would read.

    Args:
        model: An architecture that timm knows (``resnet50``, ``vit_small_patch16_224``), a
            local folder with ``config.json``, or ``owner/name`` of a repository.
        weights: A local file with the weights of an architecture; None for those of its folder
            or repository.

    Raises:
        DataError: There is no such model.

    Example:
        mmx train source=published target=cifar10 encoder/image=timm
        encoder.image.model=tf_efficientnet_lite0 encoder.image.weights=lite0.pth
    """

    library = "timm"

    def __init__(
        self,
        spec: ImageSpec,
        *,
        model: str,
        weights: str | None = None,
        size: ImageSide | None = None,
        revision: str | None = None,
        download: bool = False,
        adapter: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        named = {"model": model, "revision": revision, "download": download}
        self.named, self.image_size = named, (spec.height, spec.width)
        self.net = _make(named, self.image_size)
        if gradient_checkpointing:
            checkpoint_timm(self.net)
        shown = self.find_preprocessing(**named)
        self.normalize = Normalize(shown.mean, shown.std)
        self.measure_widths(spec)

    @classmethod
    def find_published(cls, **options: Any) -> Published | None:
        """Return the weights of the file that is named, else of the folder or the repository."""
        found = _find_published(options)
        return None if found is None else add_adapter(found, options)

    @classmethod
    def find_preprocessing(cls, **options: Any) -> Preprocessing:
        """Return what the folder, or timm, says of an architecture's weights."""
        found = read_data_config(options)
        return Preprocessing(
            size=tuple(found["input_size"][1:]),
            mean=tuple(found["mean"]),
            std=tuple(found["std"]),
            interpolation=found["interpolation"],
            how="squash" if found.get("crop_mode") == "squash" else "center",
            crop_part=found["crop_pct"],
        )

    @classmethod
    def describe_deviations(cls, spec: ImageSpec, **options: Any) -> tuple[str, ...]:
        """Return that images have another size, or that a weight file does not say its own."""
        found = super().describe_deviations(spec, **options)
        if options.get("weights"):
            shown = cls.find_preprocessing(**options)
            found += (
                "the weight file does not say how images were shown to it: mean "
                f"{tuple(shown.mean)}, std {tuple(shown.std)} and "
                f"{shown.interpolation} are timm's for {options['model']}",
            )
        return found

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T, D)`` of pixels or patches, one level for each stage.
        """
        return _encode(self.net, self.normalize(x))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the stem, then the blocks, as timm groups them."""
        return group_tensors(self.net, "net.")

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return published values of the network's tensors; see :class:`Encoder`.

        A file of timm's names is read by name. For others timm knows what to rename and how to
        fit positions to another size; else a port of the same architecture is read in order.
        """
        file, own = published.weight_files[0], self.net.state_dict()
        there = read_tensors(published)
        found = there if _fits(there, own) else self._convert(file, own)
        if not _fits(found, own):
            found = _in_order(there, own)
        lacking = [n for n in own if n not in found or found[n].shape != own[n].shape]
        if lacking:
            raise DataError(
                f"{file}: {len(lacking)} of {len(own)} tensors of the network are not there, or of "
                f"another shape, {lacking[0]} to begin with",
                tip="the file must hold weights of this architecture",
            )
        return {f"net.{name}": found[name].to(own[name].dtype) for name in own}

    def _convert(self, file: Path, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a file as timm converts them; without those that it leaves fresh.

        timm passes over tensors that it does not find, so what it returns is compared with a
        network of the same draws that has read nothing.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            fresh = _make(self.named, self.image_size).state_dict()
            torch.manual_seed(0)
            try:
                found = _make(self.named, self.image_size, file=str(file)).state_dict()
            except DataError:
                raise
            except Exception:  # of the library, for each architecture
                return {}
        drawn = {n for n, value in fresh.items() if value.is_floating_point() and value.std() > 0}
        return {n: v for n, v in found.items() if not (n in drawn and torch.equal(v, fresh[n]))}


def _fits(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    """Return whether every tensor of a network is there, in its shape."""
    return all(name in found and found[name].shape == own[name].shape for name in own)


def group_tensors(net: nn.Module, prefix: str) -> tuple[tuple[str, ...], ...]:
    """Return the names of a network's tensors at each depth, as timm groups them.

    Args:
        net: A network of timm's.
        prefix: What the names start with in the encoder.
    """
    library = import_extra("timm.models._manipulate", "timm")
    if not hasattr(net, "group_matcher"):  # as of PiT and PoolFormer
        return _group_parts(net, prefix)
    matcher = net.group_matcher(coarse=False)  # type: ignore[operator]
    groups: dict[int, list[str]] = {}
    found = library.group_with_matcher(
        net.state_dict().items(), matcher, return_values=False, reverse=True
    )
    modules = _find_modules(found)
    for name, depth in found.items():
        whole = f"{prefix}{_find_prefix(name, modules)}"
        if whole not in groups.setdefault(int(depth), []):
            groups[int(depth)].append(whole)
    return tuple(tuple(groups[depth]) for depth in sorted(groups))


def _group_parts(net: nn.Module, prefix: str) -> tuple[tuple[str, ...], ...]:
    """Return each part of a network as a depth, and each item of a part that is a list of them.

    Tensors that the network has itself belong to its first part.
    """
    own: list[str] = []
    found: dict[str, None] = {}
    for name in net.state_dict():
        part, _, rest = name.partition(".")
        items = isinstance(getattr(net, part), nn.Sequential | nn.ModuleList)
        whole = f"{part}.{rest.partition('.')[0]}" if items else part
        if whole == name:
            own.append(f"{prefix}{name}")
        else:
            found[f"{prefix}{whole}."] = None
    first, *others = found
    return (*own, first), *((each,) for each in others)


def _find_modules(depths: Mapping[str, int]) -> dict[str, set[int]]:
    """Return each module's prefix to the depths that its tensors lie in."""
    found: dict[str, set[int]] = {}
    for name, depth in depths.items():
        parts = name.split(".")
        for count in range(1, len(parts)):
            found.setdefault(".".join(parts[:count]) + ".", set()).add(depth)
    return found


def _find_prefix(name: str, modules: Mapping[str, set[int]]) -> str:
    """Return the outermost module of a tensor that lies in one depth whole, else its own name."""
    parts = name.split(".")
    prefixes = (".".join(parts[:count]) + "." for count in range(1, len(parts)))
    return next((each for each in prefixes if len(modules[each]) == 1), name)


def _encode(net: nn.Module, x: Tensor) -> Features:
    last, stages = _run(net, x)
    levels = tuple(_mean(stage) for stage in stages)
    pooled = net.forward_head(last, pre_logits=True)  # type: ignore[operator]
    tokens = _as_tokens(net, last)
    if tokens.shape[2] != pooled.shape[1]:  # a head that widens what it has pooled
        tokens = pooled[:, None]
    return Features(tokens, step_mask(None, tokens), pooled, levels)


def _run(net: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the last features, as the network's head reads them, and those of each stage.

    Raises:
        DataError: They are several of several scales.
    """
    if hasattr(net, "forward_intermediates"):
        last, stages = net.forward_intermediates(x, output_fmt="NCHW")  # type: ignore[operator]
    else:
        last, stages = net.forward_features(x), []  # type: ignore[operator]
    if not isinstance(last, Tensor):
        raise DataError(
            f"{type(net).__name__} of timm gives features of several scales, which are not read"
        )
    return last, stages


def _mean(stage: Tensor) -> Tensor:
    return stage.mean((2, 3)) if stage.ndim == 4 else stage.mean(1)


def _as_tokens(net: nn.Module, last: Tensor) -> Tensor:
    """Return ``(B, T, D)`` of what a network's head reads: ``(B, T, D)`` or a map of pixels."""
    if last.ndim == 3:
        extra = int(getattr(net, "num_prefix_tokens", 0))  # the class token, and registers
        return last[:, extra:]
    if last.shape[1] == getattr(net, "num_features", last.shape[1]):
        return last.flatten(2).transpose(1, 2)
    return last.flatten(1, 2)  # channels last: (B, H, W, D)


def _in_order(found: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of a file that calls them otherwise, taken in order.

    A port of one architecture names its layers as it likes and registers them in one order. Every
    shape has to agree, and what a tensor is in its layer: ``weight``, ``running_mean``.
    """
    there = [name for name in found if not name.endswith("num_batches_tracked")]
    named = [name for name in own if not name.endswith("num_batches_tracked")]
    pairs = list(zip(named, there, strict=False))

    def is_alike(name: str, other: str) -> bool:
        ends = name.rpartition(".")[2] == other.rpartition(".")[2]
        return ends and own[name].shape == found[other].shape

    if len(pairs) < len(named) or not all(is_alike(*pair) for pair in pairs):
        return found
    counts = {name: own[name] for name in own if name.endswith("num_batches_tracked")}
    return {name: found[other] for name, other in pairs} | counts


def _make(options: Mapping[str, Any], size: tuple[int, int], file: str | None = None) -> nn.Module:
    """Return a network without its classifier, drawn fresh or with the weights of a file.

    Raises:
        DataError: timm cannot make it.
        RuntimeError: The file is of another architecture, or calls its tensors otherwise.
    """
    library = import_extra("timm", "timm")
    folder = _find_folder(options)
    name = f"local-dir:{folder.path}" if folder is not None else str(options["model"])
    given = {} if file is None else {"pretrained_cfg_overlay": {"file": file, "source": ""}}
    with keep_quiet("timm"):
        for more in ({"img_size": size}, {}):  # only some, such as a ViT, are built for a size
            try:
                net: nn.Module = library.create_model(
                    name, pretrained=file is not None, num_classes=0, **given, **more
                )
            except TypeError:
                continue
            return net
    raise DataError(f"model={options['model']}: timm cannot make it")


def _find_published(options: Mapping[str, Any]) -> Published | None:
    """Return the weights that a network's options name, without an adapter."""
    folder = _find_folder(options)
    if (file := Published.of_file(options.get("weights"))) is not None:
        given = () if folder is None else folder.find_published().other_files
        return replace(file, other_files=given)
    if folder is not None:
        return folder.find_published()
    repository = _look_up(str(options["model"]))["repository"]
    if not repository:
        return None
    named = {**options, "model": repository}
    try:
        return find_model_folder(
            repository, revision=options.get("revision"), download=bool(named.get("download"))
        ).find_published()
    except DataError as error:
        return Published(
            repository,
            (Path("model.safetensors"),),
            origin=repository,
            absent=f"download=true fetches {repository}; or encoder.image.weights=<file>"
            if error.tip
            else "",
        )


def _find_folder(options: Mapping[str, Any]) -> Folder | None:
    """Return the folder of a model; None of an architecture that is named."""
    model = str(options["model"])
    if Path(model).expanduser().is_dir() or REPOSITORY.fullmatch(model):
        return find_model_folder(
            model, revision=options.get("revision"), download=bool(options.get("download"))
        )
    _look_up(model)
    return None


def _look_up(model: str) -> Json:
    """Return what timm knows of an architecture: its repository, and how images are shown to it.

    Raises:
        DataError: It knows no such architecture.
    """

    def ask() -> Json:
        library = import_extra("timm", "timm")
        if not library.is_model(model):
            if Path(model).is_file():
                raise DataError(
                    f"model={model}: is a file; timm is told the architecture and the weights",
                    tip=f"encoder.image.model=<architecture> encoder.image.weights={model}",
                )
            near = closest(model, library.list_models())
            raise DataError(
                f"model={model}: is no folder, no owner/name and no architecture of timm",
                tip=f"encoder.image.model={near or 'resnet18'}",
            )
        found = library.get_pretrained_cfg(model)
        known = {} if found is None else dict(found.to_dict())
        shown = library.data.resolve_data_config(pretrained_cfg=known)
        return {"repository": known.get("hf_hub_id"), "shown": shown}

    return recall_facts("timm", {"architecture": model}, ask)


def _read_shown(folder: Folder) -> Json:
    """Return how images are shown to the model of a folder."""

    def ask() -> Json:
        library = import_extra("timm", "timm")
        read = import_extra("timm.models._hub", "timm").load_model_config_from_path
        try:
            config, _, _ = read(folder.path)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"does not say how timm makes its model ({type(error).__name__}: {error})"
            tip = "encoder/image=transformers   (of a folder of transformers)"
            raise DataError(f"{path} {reason}", tip=tip) from error
        return {"shown": library.data.resolve_data_config(pretrained_cfg=config)}

    path = folder.path / "config.json"
    if not path.is_file():
        raise DataError(
            f"{folder.path} has no config.json, and so is no folder of a model",
            tip="encoder.image.model=resnet18   (or a folder that timm has written)",
        )
    return recall_facts("timm", {"config": path.read_text(encoding="utf-8")}, ask)


def read_data_config(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return size, mean, std, interpolation and crop that a model's weights expect."""
    folder = _find_folder(options)
    told = _look_up(str(options["model"])) if folder is None else _read_shown(folder)
    found: dict[str, Any] = told["shown"]
    if side := options.get("size"):
        found = {**found, "input_size": (3, side, side)}
    return found
