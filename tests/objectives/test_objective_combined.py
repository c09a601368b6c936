"""Sums of objectives: what is added up, and every way in which they may not be put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from catalogue import classes, listed
from refusals import check_error

from mmx.modalities import Encoded
from mmx.objectives.combined import Combined
from mmx.objectives.cross_entropy import CrossEntropy
from mmx.objectives.focal import Focal
from mmx.objectives.info_nce import InfoNce

Make = Callable[..., Any]


def test_a_weighted_sum(sample: Make) -> None:
    batch = sample()
    names = {"cross_entropy": 2.0, "info_nce": 0.1, "gradient_blending": 0.5}
    criterion = Combined(terms=names, options={"info_nce": {"width": 5}}).bind(
        batch.target, 3, batch.widths
    )
    parts = {name: criterion.terms[name](batch.said, batch.target) for name in names}
    total = sum(names[name] * loss for name, loss in parts.items())
    torch.testing.assert_close(criterion(batch.said, batch.target), total)
    assert criterion.terms["info_nce"].projections["image"].weight.shape == (5, 4)
    plain = torch.nn.functional.cross_entropy(batch.said.outputs, batch.target)
    found = criterion.task_loss(batch.said.outputs, batch.target)
    torch.testing.assert_close(found, 2.5 * plain)
    parameters = {name for name, _ in criterion.named_parameters()}
    assert "terms.info_nce.projections.image.weight" in parameters
    assert "terms.gradient_blending.heads.image.weight" in parameters


def test_the_default_is_cross_entropy(sample: Make) -> None:
    batch = sample()
    one, two = (
        objective.bind(batch.target, 3, batch.widths)(batch.said, batch.target)
        for objective in (Combined(), CrossEntropy())
    )
    assert torch.equal(one, two)


def test_kinds_are_those_of_all_terms() -> None:
    both = Combined(terms={"binary_cross_entropy": 1.0, "info_nce": 0.1})
    assert both.kinds == {"multilabel"}
    assert both.cross_modal
    alone = Combined(terms={"cross_entropy": 1.0, "unimodal": 0.1})
    assert alone.kinds == {"classes"}
    assert not alone.cross_modal


def test_whoever_wants_to_observe_does(sample: Make) -> None:
    batch = sample()
    plain = Combined().bind(batch.target, 3, batch.widths)
    assert not plain.observes
    blending = Combined(
        terms={"gradient_blending": 1.0, "info_nce": 1.0},
        options={"gradient_blending": {"every": 3}},
    ).bind(batch.target, 3, batch.widths)
    assert blending.observes
    blending.after_epoch(Encoded({}, {}, batch.target), batch.said.outputs)
    assert blending.terms["gradient_blending"].epochs.item() == 1


def test_embeddings_are_those_of_the_first_term_that_aligns(sample: Make) -> None:
    batch = sample(presence=1.0)
    terms = {"cross_entropy": 1.0, "triplet": 1.0, "info_nce": 1.0}
    criterion = Combined(terms=terms).bind(batch.target, 3, batch.widths)
    found = criterion.embed(batch.said.pooled)
    for name, x in criterion.terms["info_nce"].embed(batch.said.pooled).items():
        assert torch.equal(found[name], x)
    plain = Combined().bind(batch.target, 3, batch.widths)
    assert criterion.aligns
    assert not plain.aligns
    with pytest.raises(NotImplementedError) as error:
        plain.embed(batch.said.pooled)
    check_error(error.value, "CombinedLoss", "modalities")


def test_balancing_changes_the_term_alone() -> None:
    options = {"cross_entropy": {"class_weights": "none"}, "info_nce": {"width": 7}}
    plain = Combined(terms={"cross_entropy": 1.0, "info_nce": 0.5}, options=options)
    weighed = plain.with_class_weights()
    assert isinstance(weighed, Combined)
    assert vars(weighed.terms["cross_entropy"])["class_weights"] == "balanced"
    assert weighed.terms["info_nce"] is plain.terms["info_nce"]
    assert weighed.weights == plain.weights
    assert vars(plain.terms["cross_entropy"])["class_weights"] == "none"
    focal = Combined(terms={"focal": 1.0}).with_class_weights()
    assert isinstance(focal, Combined)
    assert vars(focal.terms["focal"])["class_weights"] == "balanced"


def test_nothing_to_balance() -> None:
    objective = Combined(terms={"mean_squared_error": 1.0})
    with pytest.raises(ValueError, match=r"^combined has no class weights; cross_ent"):
        objective.with_class_weights()


def test_options_are_converted_as_a_config_would() -> None:
    options = {"focal": {"gamma": 1, "class_weights": [1, 2]}}
    term = Combined(terms={"focal": 1.0}, options=options).terms["focal"]
    assert isinstance(term, Focal)
    assert (term.gamma, type(term.gamma), term.class_weights) == (1.0, float, [1.0, 2.0])
    whole = Combined(terms={"cross_entropy": 1, "info_nce": 1}, options={"info_nce": {}})
    assert isinstance(whole.terms["info_nce"], InfoNce)


ACCEPTED = "accepted: " + listed(
    name for name, kind in classes("objective").items() if kind is not Combined
)
NO_OUTPUTS = ("outputs", "cross_entropy", "objective=info_nce")


@pytest.mark.parametrize(
    ("terms", "options", "facts"),
    [
        (
            {"cross_entropy": 1.0, "infonce": 0.1},
            {},
            ("terms.infonce", f"{ACCEPTED}\n  closest:  info_nce"),
        ),
        ({"zzz": 1.0}, {}, ("terms.zzz", ACCEPTED)),
        ({"class_weights": 1.0}, {}, ("terms.class_weights", ACCEPTED)),
        ({"combined": 1.0}, {}, ("terms.combined", "itself", ACCEPTED)),
        (
            {"cross_entropy": 1.0, "contrastive": 0.1},
            {},
            ("terms.contrastive", "InfoNCE", "combined", ACCEPTED),
        ),
        (
            {"cross_entropy": 1.0, "info_nce": 0.1},
            {"info_nce": {"widht": 64}},
            ("options.info_nce.widht", "accepted: width\n  closest:  width"),
        ),
        (
            {"cross_entropy": 1.0, "unimodal": 0.1},
            {"unimodal": {"width": 64}},
            ("options.unimodal.width", "accepted: no options"),
        ),
        (
            {"cross_entropy": 1.0},
            {"info_nce": {"width": 64}},
            ("options.info_nce", "`terms`", "accepted: cross_entropy"),
        ),
        (
            {"cross_entropy": 1.0, "info_nce": 0.1},
            {"info_nce": {"width": 0}},
            ("`options.info_nce.width` (=0)", "greater than or equal to 1"),
        ),
        (
            {"cross_entropy": 1.0, "info_nce": 0.1},
            {"info_nce": {"width": True}},
            ("`options.info_nce.width` (=True)", "not a number"),
        ),
        (
            {"cross_entropy": 1.0},
            {"cross_entropy": {"temperature": float("nan")}},
            ("`options.cross_entropy.temperature` (=nan)", "less than or equal to 10000"),
        ),
        (
            {"focal": 1.0},
            {"focal": {"class_weights": "some"}},
            ("`options.focal.class_weights` (=some)", "'none' or 'balanced'"),
        ),
        (
            {"cross_entropy": 1.0, "mean_squared_error": 1.0},
            {},
            ("`terms`", "cross_entropy classes, mean_squared_error regression"),
        ),
        ({"triplet": 1.0, "info_nce": 0.1}, {}, ("`terms` (triplet, info_nce)", *NO_OUTPUTS)),
        ({}, {}, ("`terms` (none)", *NO_OUTPUTS)),
    ],
)
def test_what_is_refused(
    terms: dict[str, float], options: dict[str, Any], facts: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        Combined(terms=terms, options=options)
    check_error(error.value, *facts)
    closest = any("closest" in fact for fact in facts)
    assert ("closest" in str(error.value)) == closest
