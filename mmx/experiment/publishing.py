"""Which encoders start from published weights, and what of that cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from mmx.config.chosen import read_target
from mmx.config.locate import find_builtin_options
from mmx.config.nodes import ConfigNode
from mmx.config.signature import list_options
from mmx.encoders import Encoder
from mmx.encoders.exported_tensors import WEIGHT_SUFFIXES
from mmx.encoders.published import Published
from mmx.encoders.wrong_paths import find_other_format
from mmx.errors import DataError, Problem, closest
from mmx.experiment.content_digest import content_digest, digest_files
from mmx.experiment.fitting import Built, describe_encoder_error
from mmx.runs.essence import FILE_OPTIONS
from mmx.stage_id import Role


def name_weight_option(make: Callable[..., Encoder]) -> str:
    """Return the option of an encoder's recipe that says where its weights lie."""
    _, options = class_and_options(make)
    return "weights" if options.get("weights") or "model" not in options else "model"


@dataclass(frozen=True)
class PublishedStart:
    """The encoders that start from published weights, of one role.

    Attributes:
        role: ``target`` where the source is published weights, ``source`` where a source task is
            trained on top of them; None where no encoder starts from published weights.
        weights: Modality to its weights.
    """

    role: Role | None = None
    weights: dict[str, Published] = field(default_factory=dict)

    def of(self, role: Role) -> dict[str, Published]:
        """Return the weights that the encoders of a role start from."""
        return self.weights if role is self.role else {}


def find_role(built: Built) -> Role | None:
    """Return whose encoders are to start from published weights; None for nobody's."""
    if built.published is not None:
        return Role.TARGET
    wanted = built.settings is not None and built.settings.source_weights == "published"
    return Role.SOURCE if wanted and built.trains_source else None


def find_start(built: Built, problems: list[Problem]) -> PublishedStart:
    """Return which encoders start from published weights.

    Args:
        built: The experiment so far.
        problems: Is told of weights that cannot be had.
    """
    role = find_role(built)
    if role is None:
        return PublishedStart()
    own = built.modalities.get(role, {})
    chosen = built.published.modalities if built.published is not None else None
    weights: dict[str, Published] = {}
    for name in sorted(own if chosen is None else chosen):
        if name not in own:
            problems.append(_no_such_modality(name, sorted(own)))
        elif name in built.encoders:
            try:
                found = find_published(built.encoders[name])
            except (DataError, ValueError) as error:
                problems.append(describe_encoder_error(built.find_encoder_path(name), error))
                continue
            if found is not None:
                weights[name] = found
            elif chosen is not None:
                problems.append(_none_published([name], f"source.modalities=[{','.join(chosen)}]"))
    if not weights and not built.failed and not problems:
        given = "source=published" if role is Role.TARGET else "source_weights=published"
        problems.append(_none_published(sorted(own), given))
    return PublishedStart(role, weights)


def find_published(make: Callable[..., Encoder]) -> Published | None:
    """Return the published weights of an encoder's recipe; None where it has none."""
    kind, options = class_and_options(make)
    return kind.find_published(**options)


def class_and_options(make: Callable[..., Encoder]) -> tuple[type[Encoder], Mapping[str, Any]]:
    """Return the class of an encoder's recipe, and the options that are bound to it."""
    if isinstance(make, partial):
        return cast(type[Encoder], make.func), make.keywords
    return cast(type[Encoder], make), {}


def digest_weights(
    encoders: Mapping[str, Callable[..., Encoder]],
    start: PublishedStart,
    also: Collection[str] = (),
) -> dict[str, str]:
    """Return a digest of the published files that each encoder is made from, by modality.

    Of an encoder that starts fresh they are those of its architecture and its tokenizer alone.
    An encoder that reads no file has none.

    Args:
        encoders: Modality to the recipe of its encoder.
        start: Which of them start from published weights.
        also: Modalities of which a control reads the published weights, whatever they start from.
    """
    found: dict[str, str] = {}
    for name, files in list_weight_files(encoders, start, also).items():
        found[name] = content_digest(files[0]) if len(files) == 1 else digest_files(files)
    return found


def list_weight_files(
    encoders: Mapping[str, Callable[..., Encoder]],
    start: PublishedStart,
    also: Collection[str] = (),
) -> dict[str, list[Path]]:
    """Return the files that each encoder is made from; see :func:`digest_weights`."""
    found: dict[str, list[Path]] = {}
    for name, make in encoders.items():
        given = start.weights.get(name) or (find_published(make) if name in also else None)
        files = [path for path in _list_files(make, given) if path.exists()]
        if files:
            found[name] = files
    return found


def digest_weight_files(published: Published) -> str:
    """Return a digest of the files that hold published tensors, which must be there."""
    files = list(published.weight_files)
    return content_digest(files[0]) if len(files) == 1 else digest_files(files)


def _list_files(make: Callable[..., Encoder], given: Published | None) -> list[Path]:
    """Return the files that an encoder is made from.

    An encoder of one's own that says nothing of published weights may read a file all the same.
    """
    kind, options = class_and_options(make)
    if not publishes(kind):
        named = (options.get(key) for key in FILE_OPTIONS)
        return [Path(each).expanduser() for each in named if isinstance(each, str)]
    try:
        known = given or kind.find_published(**options)
    except (DataError, OSError, ValueError):  # said where the encoder is made
        return []
    if known is None:
        return []
    return list(known.files() if given else known.other_files)


def publishes(kind: type[Encoder]) -> bool:
    """Return whether a class says which published weights there are."""
    return getattr(kind.find_published, "__func__", None) is not Encoder.find_published.__func__  # type: ignore[attr-defined]


def find_missing_files(start: PublishedStart, find_path: Callable[[str], str]) -> Iterator[Problem]:
    """Yield the files that encoders are to start from and that are not there.

    Args:
        start: The encoders that start from published weights.
        find_path: Returns the config path of an input's encoder.
    """
    for name, weights in start.weights.items():
        for path in weights.missing_files():
            reason = "is a folder" if path.is_dir() else "there is no such file"
            if not weights.named:
                where = f"{find_path(name)}: {weights.name}"
                yield Problem(where, f"{reason}: {path}", type_this=weights.absent or None)
                continue
            found = _find_nearest(path)
            near = None if found is None else str(found)
            key = f"{find_path(name)}.weights"
            yield Problem(
                f"{key}={path}",
                reason,
                accepted=f"a file with tensors alone ({', '.join(WEIGHT_SUFFIXES)})",
                closest=near,
                type_this=None if near is None else _write_override(key, near),
            )


def find_other_formats(start: PublishedStart, find_path: Callable[[str], str]) -> Iterator[Problem]:
    """Yield the files that encoders are to start from and that hold no tensors.

    Only what a file's name and its first bytes say is looked at. The arguments are those of
    :func:`find_missing_files`.
    """
    for name, weights in start.weights.items():
        for path in weights.weight_files:
            if not path.is_file() or (why := find_other_format(path)) is None:
                continue
            key = f"{find_path(name)}.{'weights' if weights.named else 'model'}"
            given = path if weights.named else path.parent
            yield Problem(
                f"{key}={given}",
                why if weights.named else f"{path.name}: {why}",
                accepted=f"tensors alone ({', '.join(WEIGHT_SUFFIXES)})",
            )


def _find_nearest(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    try:
        files = [each.name for each in folder.iterdir() if each.suffix in WEIGHT_SUFFIXES]
    except OSError:
        return None
    near = closest(path.name, files) or (files[0] if len(files) == 1 else None)
    return folder / near if near else None


def _write_override(key: str, value: str) -> str:
    """Return an override, quoted where its value needs that."""
    if re.fullmatch(r"[\w./+-]+", value):
        return f"{key}={value}"
    return f"'{key}=\"{value}\"'"


def drop_unread_weights(
    config: ConfigNode, built: Built, start: PublishedStart, dropped: dict[str, str]
) -> ConfigNode:
    """Return the config without the weight files that no encoder starts from."""
    nodes = config.get("encoder")
    if not isinstance(nodes, dict):
        return config
    changed = dict(nodes)
    read = {built.find_encoder_path(name) for name in start.weights}
    for name, make in built.encoders.items():
        node, path = nodes.get(name), built.find_encoder_path(name)
        if not publishes(class_and_options(make)[0]) or name in start.weights:
            continue
        for key in ("weights", "adapter"):
            if isinstance(node, dict) and node.get(key):
                if path not in read:
                    dropped[f"{path}.{key}"] = (
                        "the encoder starts fresh: source=published lets it start from published "
                        "weights"
                    )
                changed[name] = node = {**node, key: None}
    return {**config, "encoder": changed}


def _no_such_modality(name: str, own: list[str]) -> Problem:
    return Problem(
        f"source.modalities=[{name}]",
        f"the target has no {name}",
        accepted=", ".join(own),
        type_this=f"source.modalities=[{','.join(own)}]",
    )


def _none_published(names: list[str], given: str) -> Problem:
    known = {name: find_published_encoders(name) for name in names}
    known = {name: kinds for name, kinds in known.items() if kinds}
    typed = [
        _choose(modality, option, kind)
        for modality, kinds in known.items()
        for option, kind in kinds.items()
    ]
    chosen = min(typed, key=lambda words: words.count(" "), default="")  # one that names no model
    return Problem(
        given,
        f"the encoder of {' or '.join(names)} has no published weights",
        accepted="; ".join(f"encoder/{name}={', '.join(kinds)}" for name, kinds in known.items())
        or None,
        type_this=f"{chosen}   (or another of these; or source=none)" if chosen else "source=none",
    )


def find_published_encoders(modality: str) -> dict[str, type[Encoder]]:
    """Return mmx's encoders of a modality that have published weights, by option."""
    found = {}
    for option, path in find_builtin_options(f"encoder/{modality}").items():
        kind = resolve_name(target) if (target := read_target(path)) else None
        if isinstance(kind, type) and issubclass(kind, Encoder) and publishes(kind):
            found[option] = kind
    return found


def _choose(modality: str, option: str, kind: type[Encoder]) -> str:
    """Return what to type for an encoder, with what has no default."""
    required = [
        f"encoder.{modality}.{name}=<folder>"
        for name, parameter in list_options(kind).items()
        if parameter.default is parameter.empty
    ]
    return " ".join([f"encoder/{modality}={option}", *required])
