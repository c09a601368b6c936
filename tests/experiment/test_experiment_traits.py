"""What a part states decides what fits together; its class and its name do not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from torch import nn

from mmx.config import compose
from mmx.encoders import Encoder
from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.errors import Problem
from mmx.experiment import Experiment, assemble
from mmx.experiment.head_misfits import find_head_misfits
from mmx.experiment.transferring import find_transfer_misfits
from mmx.modalities.audio import Audio
from mmx.modalities.image import Image
from mmx.modalities.text import Tokens
from mmx.stage_id import Role
from mmx.training.optimizer import AdamW
from mmx.transfer import Source, Start, Transfer
from mmx.transfer.base import ChosenHead, start_fresh
from mmx.transfer.feature import Feature
from mmx.transfer.regularizers.l2_sp import L2Sp
from mmx.transfer.search_contract import Search, SearchCandidate


class Mine(Transfer):
    """A mode of no folder of mmx."""

    needs = "weights"

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        return start_fresh(model)


class Headed(Mine):
    @property
    def chosen_head(self) -> ChosenHead:
        return ChosenHead(
            typed="transfer.top=vote",
            kinds=frozenset({"regression"}),
            plain=False,
            alone=True,
            fitted=True,
            type_for_any_kind="transfer.top=any",
            type_for_plain="transfer.top=plain",
        )


class Searching(Mine, Search):
    eta = 2
    budget_seconds = None

    @property
    def search(self) -> Search:
        return self

    def list_candidates(self) -> list[SearchCandidate]:
        return []

    def find_budget_steps(self, steps_per_epoch: int, epochs: int) -> int:
        return 1


class Listing(Searching):
    def __init__(self, *, regularizers: tuple[str, ...] = ()) -> None:
        self.regularizers = regularizers


@pytest.fixture(scope="module")
def plain() -> Experiment:
    with compose.composer():
        words = ("source=digits", "target=digits", "transfer=parameter", "regularizer=none")
        return assemble(compose.compose_job(words).config)


def test_a_head_that_a_mode_states_is_held_against_task_and_fusion(plain: Experiment) -> None:
    assert list(find_head_misfits(replace(plain, transfer=Mine()), None)) == []
    (found, *_) = find_head_misfits(replace(plain, transfer=Headed()), None)
    assert (found.given, found.type_this) == ("transfer.top=vote", "transfer.top=any")
    assert "kind classes" in found.reason
    assert found.reason.endswith("regression")


class OfMatrices(AdamW):
    """An optimiser that updates whole matrices."""

    elementwise = False


def test_heads_that_train_as_one_tensor_need_an_elementwise_optimizer(plain: Experiment) -> None:
    many = replace(plain, transfer=Feature(decays=(0.0, 0.1)))
    assert list(find_head_misfits(many, None)) == []
    (found,) = find_head_misfits(replace(many, optimizer=OfMatrices()), None)
    assert found == Problem(
        "optimizer=of_matrices",
        "is not elementwise, and transfer.decays=[0,0.1] trains all heads as one tensor",
        type_this="optimizer=adamw   (or optimizer=sgd)",
    )
    for one in (Feature(), Feature(head="knn")):
        apart = replace(plain, transfer=one, optimizer=OfMatrices())
        assert list(find_head_misfits(apart, None)) == []


@pytest.mark.parametrize(
    ("transfer", "typed"),
    [(Searching(), "regularizer=none"), (Listing(), "transfer.regularizers=[l2_sp]")],
)
def test_a_search_takes_no_regularizer_beside_it(
    plain: Experiment, transfer: Transfer, typed: str
) -> None:
    (found,) = find_transfer_misfits(replace(plain, transfer=transfer, regularizer=L2Sp()))
    assert found.given == "regularizer=l2_sp"
    assert (found.type_this or "").split("   ")[0] == typed


class Eye(SmallCnn):
    """An encoder of another package that states the architecture of ``small_cnn``."""


class Ear(Encoder):
    """One that states none."""

    def forward(self, x: Any, lengths: Any = None) -> Any: ...


READERS: dict[str, Any] = {"image": Image, "audio": Audio, "text": Tokens}


@pytest.mark.parametrize(
    ("source", "other", "target", "advised"),
    [
        ("image", Eye, "audio", ["encoder/audio=spectrogram_cnn"]),
        ("image", Ear, "audio", ["encoder/image=small_cnn", "encoder/audio=spectrogram_cnn"]),
        ("image", Eye, "text", ["encoder/text=grid_cnn"]),
        ("image", Ear, "text", ["encoder/image=small_cnn", "encoder/text=grid_cnn"]),
        ("audio", Ear, "text", ["encoder/audio=logmel_lstm", "encoder/text=lstm"]),
        ("audio", SpectrogramCnn, "text", ["encoder/text=grid_cnn"]),
    ],
)
def test_what_an_encoder_states_says_which_other_starts_from_it(
    plain: Experiment, source: str, other: type[Encoder], target: str, advised: list[str]
) -> None:
    encoders = {source: partial(other), target: partial(Ear)}
    modalities = {
        Role.SOURCE: {source: READERS[source]()},
        Role.TARGET: {target: READERS[target]()},
    }
    (found,) = find_transfer_misfits(replace(plain, encoders=encoders, modalities=modalities))
    words = (found.type_this or "").split("(or ")[1].removesuffix(")").split()
    assert [word for word in words if word.startswith("encoder/")] == advised
