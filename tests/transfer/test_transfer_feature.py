from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor, nn

from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.errors import TransferError
from mmx.fusion.concat import Concat
from mmx.fusion.gated import Gated
from mmx.modalities import Spec
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.model import MultimodalModel, Parts, set_training_mode
from mmx.transfer import Source
from mmx.transfer.feature import Feature, FitHead
from mmx.transfer.heads import HEADS, FittedHead
from mmx.transfer.heads.closed_form import ClosedForm
from mmx.transfer.heads.knn import Knn, KnnHead
from mmx.transfer.heads.linear import Linear, LinearHead
from mmx.transfer.heads.logistic import Logistic
from mmx.transfer.heads.mlp import Mlp as MlpOptions
from mmx.transfer.heads.mlp import MlpHead
from mmx.transfer.parameter import Parameter
from mmx.transfer.phases import TrainEpochs

TABLE = TabularSpec(("x",), (0.0,), (1.0,), (), ())
SPECS: dict[str, Spec] = {"image": ImageSpec(8, 8), "tabular": TABLE}


def make(
    seed: int, specs: dict[str, Spec] = SPECS, fusion: Any = Concat, layers: int = 2
) -> MultimodalModel:
    torch.manual_seed(seed)
    cnn = partial(SmallCnn, width=8, depth=2)
    table = partial(Mlp, width=8, hidden=8, layers=layers)
    sound = partial(SpectrogramCnn, width=8, depth=2, mels=8)
    encoders = {"image": cnn, "audio": sound, "tabular": table}
    return MultimodalModel(specs, {name: encoders[name] for name in specs}, fusion, 3)


def source(specs: dict[str, Spec] = SPECS, layers: int = 2) -> Source:
    return Source(make(1, specs, layers=layers).state_dict(), ("a", "b", "c"))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# options


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({}, Linear()),
        ({"normalize": True}, Linear(normalize=True)),
        ({"head": "mlp", "width": 9, "dropout": 0.1}, MlpOptions(width=9, dropout=0.1)),
        ({"head": "knn", "k": 3, "temperature": 1.0}, Knn(k=3, temperature=1.0)),
        ({"head": "logistic", "grid": (0.1, 1.0)}, Logistic(grid=(0.1, 1.0))),
        ({"head": "closed_form", "grid": (2.0,)}, ClosedForm(grid=(2.0,))),
    ],
)
def test_options_reach_their_head(options: dict[str, Any], head: object) -> None:
    assert Feature(**options).head == head


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 3}, "`k` (=3) is read by head=knn, not by head=linear"),
        (
            {"head": "knn", "normalize": True},
            "`normalize` (=True) is read by head=linear and head=mlp, not by head=knn",
        ),
        (
            {"head": "linear", "grid": (1.0, 2.0)},
            "`grid` (=[1.0, 2.0]) is read by head=closed_form and head=logistic, "
            "not by head=linear",
        ),
        (
            {"head": "logistic", "decays": (0.0,)},
            "`decays` (=[0.0]) is read by head=linear and head=mlp, not by head=logistic",
        ),
        ({"width": 5}, "`width` (=5) is read by head=mlp, not by head=linear"),
        (
            {"head": "knn", "head_seeds": 3},
            "`head_seeds` (=3) is read by head=linear and head=mlp, not by head=knn",
        ),
    ],
)
def test_options_that_nothing_reads_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="is read by") as caught:
        Feature(**options)
    assert str(caught.value) == message


def test_what_works_on_cached_features_alone() -> None:
    for head, kind in HEADS.items():
        assert Feature(head=head).head_alone == issubclass(kind, FittedHead), head
    mode = Feature(head="mlp", decays=(0.0, 0.1, 0.1, 0.01))
    assert mode.head_alone
    assert mode.uses_epochs
    assert mode.phases == (FitHead(mode.head, (0.1, 0.01, 0.0)),)
    assert Feature(head_seeds=3).phases == (FitHead(Linear(), seeds=3),)
    assert Feature(head="mlp").phases == (TrainEpochs(),)
    assert not Feature(head="knn").uses_epochs


def test_regularisers_have_nothing_to_act_on() -> None:
    assert Feature().regularizable == Feature(head="mlp").regularizable == frozenset()


def test_heads_are_made_for_the_kind_of_target() -> None:
    assert isinstance(Feature().make_head(4, 2, "classes"), LinearHead)
    assert isinstance(Feature(head="mlp").make_head(4, 2, "classes"), MlpHead)
    knn = Feature(head="knn").make_head(4, 1, "regression")
    assert isinstance(knn, KnnHead)
    assert knn.kind == "regression"
    for head in ("logistic", "closed_form"):
        assert type(Feature(head=head).make_head(4, 2, "classes")) is nn.Linear


def test_what_a_cache_keys_it_by_is_the_same_in_every_process() -> None:
    said = repr(sorted(vars(Feature(head="knn", k=3)).items()))
    assert "0x" not in said
    assert "frozenset" not in said
    assert said != repr(sorted(vars(Feature(head="knn", k=4)).items()))


# what else would have to train


def misfit(mode: Feature, model: nn.Module) -> str:
    (problem,) = mode.misfits(model)
    return str(problem)


def test_a_fusion_with_parameters_is_refused() -> None:
    assert Feature(head="knn").misfits(make(1)) == []
    assert Feature().misfits(make(1, fusion=Gated)) == []
    assert misfit(Feature(head="knn"), make(1, fusion=Gated)).splitlines() == [
        "transfer.head=knn: works on cached features, and "
        f"{next(n for n in make(1, fusion=Gated).state_dict() if n.startswith('fusion.'))} "
        "would have to be trained before them",
        "  type:     fusion=concat",
    ]
    assert misfit(Feature(decays=(0.0, 0.1)), make(1, fusion=partial(Concat, hidden=4))) == (
        "transfer.decays=[0,0.1]: works on cached features, and fusion.layers.0.weight would "
        "have to be trained before them\n"
        "  type:     fusion.hidden=null"
    )


def test_a_head_that_is_not_linear_is_no_other_parameter() -> None:
    mode = Feature(head="mlp", decays=(0.0,))
    parts = Parts(head=partial(mode.make_head, kind="classes"))
    model = MultimodalModel(
        {"tabular": TABLE}, {"tabular": partial(Mlp, width=8, hidden=8)}, Concat, 3, parts
    )
    assert mode.misfits(model) == []
    names = [name for name, _ in model.named_parameters()]
    assert [each.type_this for each in mode.find_trained_outside_head(names, model)] == [
        "transfer.head=linear"
    ]


# the start


def test_encoders_are_frozen() -> None:
    model, given = make(2), source()
    before = state(model)
    start = Feature().start(given, model, ("a", "b", "c"))
    encoders = {name for name in before if name.startswith("encoders.")}
    assert set(start.report.frozen) == encoders
    assert start.frozen_encoders == {"image", "tabular"}
    assert start.report.notes == ()
    assert start.shared == frozenset()


def test_frozen_is_bit_identical_through_a_training_step() -> None:
    model, given = make(2), source()
    start = Feature().start(given, model, ())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in start.frozen)
    set_training_mode(model, start.frozen, start.frozen_statistics)
    features = {"image": torch.randn(6, 3, 8, 8), "tabular": torch.randn(6, 2)}
    for name, x in features.items():
        model.encoders[name](x, None)
    for name, tensor in model.encoders.state_dict().items():
        assert torch.equal(tensor, given.state[f"encoders.{name}"]), name


def test_an_encoder_from_another_modality_is_frozen_with_what_was_adapted() -> None:
    images: dict[str, Spec] = {"image": ImageSpec(8, 8)}
    sounds: dict[str, Spec] = {"audio": AudioSpec(8000, 800)}
    model, given = make(2, sounds), source(images)
    start = Feature(map={"audio": "image"}).start(given, model, ())
    first = "encoders.audio.stages.0.0.weight"
    kernel = given.state[first.replace("audio", "image")]
    assert kernel.shape[1] == 3
    assert torch.allclose(model.state_dict()[first], kernel.sum(1, keepdim=True))
    assert first in start.frozen
    assert start.frozen_encoders == {"audio"}
    assert {*start.report.frozen} == {n for n in model.state_dict() if "audio" in n}
    assert start.report.adapted == start.report.copied == ()
    assert start.shared == frozenset()  # nothing that came from the source is trained
    assert f"{first}: summed over 3 input channels" in start.report.notes
    assert "the audio encoder starts from the source's image encoder" in start.report.notes


def test_too_little_of_an_encoder() -> None:
    wider: dict[str, Spec] = {
        **SPECS,
        "tabular": TabularSpec(("x", "y"), (0.0,) * 2, (1.0,) * 2, (), ()),
    }
    with pytest.raises(TransferError) as caught:
        Feature().start(source(wider), make(2), ())
    check_error(caught.value, "7 tensors", "tabular", "encoder", types=("transfer=parameter",))
    advice = "give both tasks one encoder and inputs of one kind; or accept it with "
    for mode, tip, advised in (
        (Parameter(min_copied=0.99), "", Parameter(min_copied=0.87)),
        (Feature(min_copied=0.99), "transfer=parameter ", Parameter(min_copied=0.87)),
    ):
        with pytest.raises(TransferError, match=r"less than transfer\.min_copied=0\.99") as caught:
            mode.start(source(wider), make(2), ())
        assert caught.value.tip == f"{advice}{tip}transfer.min_copied=0.87"
        assert advised.start(source(wider), make(2), ()).report.copied  # the advice holds


def test_it_needs_a_source() -> None:
    with pytest.raises(TransferError, match=r"^feature transfer needs a trained source$"):
        Feature().start(None, make(2), ())
