"""What a checkpoint leaves out because published files hold it, and how it is filled in again.

A frozen encoder is its published weights, bit for bit. A stage stores which of its tensors those
are, with the digest of the files and of the tensors, and all other tensors.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmx.encoders.published import Published
from mmx.errors import DamagedFileError, MmxError, RunError
from mmx.experiment import Experiment
from mmx.experiment.publishing import digest_weight_files, find_published, name_weight_option
from mmx.runs.stage_facts import PublishedTensors, StageFacts
from mmx.stages.core.cache_keys import digest_tensors
from mmx.stages.core.context import Specs
from mmx.stages.core.stage import GivenSource
from mmx.transfer.copying import is_same_memory

START = "line.start."
"""Before the names of the starting weights that a WiSE-FT line keeps."""


def leave_out_published(
    tensors: dict[str, Tensor], facts: StageFacts, given: GivenSource | None
) -> tuple[dict[str, Tensor], StageFacts]:
    """Return a stage's tensors without those of its published weights, and facts that name them.

    Args:
        tensors: Of the stage, by their names in its checkpoint.
        facts: Of the stage.
        given: What the stage started from.
    """
    if given is None or not given.published:
        return tensors, facts
    kept, found = dict(tensors), dict[str, PublishedTensors]()
    for modality, published in given.published.items():
        if published.adapter:
            continue  # merged weights stand in no file, and a sum may differ in its last bit
        names = [
            name
            for name, tensor in tensors.items()
            if (own := name.removeprefix(START)).startswith(f"encoders.{modality}.")
            and own in given.source.state
            and _have_same_bits(tensor, given.source.state[own])
        ]
        if not names:
            continue
        left = {name: kept.pop(name) for name in names}
        found[modality] = PublishedTensors(
            name=published.name,
            files=digest_weight_files(published),
            bits=given.values[modality].digest(names, partial(digest_tensors, left)),
            tensors=names,
        )
    return kept, facts.model_copy(update={"published": found}) if found else facts


def fill_in_given(
    tensors: dict[str, Tensor], facts: StageFacts, given: GivenSource | None, path: Path
) -> dict[str, Tensor]:
    """Return all tensors of a stage, from its checkpoint and from what the stage starts from.

    Raises:
        RunError: The published files are others than those that the stage started from.
        DamagedFileError: What was left out is not among the published tensors.
    """
    for modality, left in (facts.published or {}).items():
        published = given.published.get(modality) if given is not None else None
        if given is None or published is None:
            raise DamagedFileError(f"{path} leaves out tensors of {modality}, and starts from none")
        tip = "put the file back; mmx reproduce trains the stage again, in a new run"
        _check_files(published, left, modality, path, tip)
        tensors = _fill(tensors, left, given.source.state, path)
    return tensors


def fill_in_from_files(
    tensors: dict[str, Tensor], facts: StageFacts, experiment: Experiment, specs: Specs, path: Path
) -> dict[str, Tensor]:
    """Return all tensors of a stage, from its checkpoint and the published files of its config.

    Args:
        tensors: Of the checkpoint.
        facts: Of the checkpoint.
        experiment: Whose config says where the files are.
        specs: Modality to what its encoder is made for.
        path: Of the checkpoint.

    Raises:
        RunError: The files are gone, or are others.
        DamagedFileError: What was left out is not among the published tensors.
    """
    for modality, left in (facts.published or {}).items():
        tip = _say_where(experiment, modality, path)
        try:
            published = find_published(experiment.encoders[modality])
            if published is None:
                raise DamagedFileError(f"{path} leaves out tensors of {modality}: it has none")
            _check_files(published, left, modality, path, tip)
            # A fresh one: adapters give the tensors of the stage's own other names.
            encoder = experiment.encoders[modality](specs[modality])
            found = encoder.read_published(published)
        except RunError:
            raise
        except MmxError as error:
            what = _describe(path, left, modality)
            raise RunError(f"{what}: {error.message}", tip=tip) from error
        state = {f"encoders.{modality}.{name}": tensor for name, tensor in found.items()}
        tensors = _fill(tensors, left, state, path)
    return tensors


def _fill(
    tensors: dict[str, Tensor], left: PublishedTensors, state: Mapping[str, Tensor], path: Path
) -> Any:
    try:
        found = {name: state[name.removeprefix(START)].detach().cpu() for name in left.tensors}
    except KeyError as error:
        raise DamagedFileError(f"{path}: no published tensor is called {error}") from error
    if digest_tensors(found) != left.bits:
        raise RunError(
            f"{path}: {left.name} is read otherwise than when the stage was trained: its files are "
            "the same, its tensors are not",
            tip="install the versions that mmx doctor and the run's manifest.json name",
        )
    return {**tensors, **found}


def _check_files(
    published: Published, left: PublishedTensors, modality: str, path: Path, tip: str
) -> None:
    """Refuse files that are not there, or that are others."""
    what = _describe(path, left, modality)
    if missing := published.missing_files():
        raise RunError(f"{what}, and there is no {missing[0]}", tip=tip)
    if (found := digest_weight_files(published)) != left.files:
        raise RunError(
            f"{what}, and {published.weight_files[0]} is another file than the run started from "
            f"(digest {found[:12]}, not {left.files[:12]})",
            tip=tip,
        )


def _describe(path: Path, left: PublishedTensors, modality: str) -> str:
    return f"{path} leaves out {len(left.tensors)} tensors of {modality} that are in {left.name}"


def _say_where(experiment: Experiment, modality: str, path: Path) -> str:
    """Return what to type where published files have moved."""
    option = name_weight_option(experiment.encoders[modality])
    run = shlex.quote(str(path.parent.parent.parent))
    return f"put it back, or say where it is: mmx eval {run} encoder.{modality}.{option}=PATH"


def _have_same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if is_same_memory(one, other):
        return True

    def read_bits(tensor: Tensor) -> Tensor:
        return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)

    return torch.equal(read_bits(one), read_bits(other))
