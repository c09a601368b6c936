"""The order in which a search tries its candidates: by scores of the features they start from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from mmx.encoders import Encoder
from mmx.modalities import Encoded
from mmx.model import MultimodalModel
from mmx.reports.ranking import COUNTED, rank_values
from mmx.stages.core.context import Context
from mmx.stages.selection.choices import Choice
from mmx.stages.selection.prepare import Prepared
from mmx.stages.selection.scores import (
    StartedModel,
    compute_scores,
    concatenate_features,
    draw_model,
    sample_evenly,
    start_model,
)
from mmx.training.encode import encode_rows
from mmx.transfer.candidates import takes_nothing, takes_weights
from mmx.transfer.search_contract import SearchCandidate

ROWS = 2000
"""Training rows, at most, that are scored: the order needs no more."""
ScoreTable = dict[str, dict[str, float]]


def order_candidates(
    context: Context, prepared: Prepared, choices: Sequence[Choice]
) -> tuple[list[str], ScoreTable]:
    """Return the names of the candidates, the most promising first, and the scores that say so.

    A candidate is scored by the features that it starts from: those of the source's encoders,
    those at its frozen depth where it has one, or those of fresh encoders. ``scratch`` comes
    first, since the others are compared with it. Then comes the first variation of each mode
    and depth, by the mean place of its features over the scores; then all second variations,
    and so on: a short budget leaves out variations rather than modes. This order is all that
    the scores decide.

    Args:
        context: Of the run.
        prepared: The trained source, and the target without its test rows.
        choices: The candidates.

    Returns:
        The names, and features to score to value; no scores where the target has no classes.
    """
    scores = _score_candidates(context, prepared, choices)
    common = [n for n in COUNTED if scores and all(n in each for each in scores.values())]
    columns = [rank_values([each[name] for each in scores.values()]) for name in common]
    means = {
        what: statistics.fmean(column[row] for column in columns) if columns else 0.0
        for row, what in enumerate(scores)
    }

    # The index comes last, so that equals stay in the order of the lists.
    def key(index: int) -> tuple[bool, int, float, int]:
        candidate = choices[index].candidate
        place = means.get(_describe_start(candidate), math.inf if means else 0.0)
        return not takes_nothing(candidate), candidate.variation, place, index

    return [choices[index].name for index in sorted(range(len(choices)), key=key)], scores


def _describe_start(candidate: SearchCandidate) -> str:
    """Return which features a candidate starts from, in words."""
    if not takes_weights(candidate):
        return "fresh"
    return f"source, depth {candidate.depth}" if candidate.depth else "source"


def _score_candidates(
    context: Context, prepared: Prepared, choices: Sequence[Choice]
) -> ScoreTable:
    """Return the scores of all features that candidates start from; none without classes."""
    target = prepared.target.task.target
    if target.kind != "classes":
        return {}
    names = {_describe_start(each.candidate): each for each in choices}
    found: ScoreTable = {}
    if "fresh" in names:
        asks = replace(context, experiment=names["fresh"].experiment)
        found["fresh"] = _score_features(context, prepared, draw_model(asks, prepared), 0)
    taker = next((choice for choice in choices if takes_weights(choice.candidate)), None)
    if taker is not None:
        start = start_model(replace(context, experiment=taker.experiment), prepared)
        for what, each in names.items():
            if takes_weights(each.candidate):
                found[what] = _score_features(context, prepared, start, each.candidate.depth)
    return found


def _score_features(
    context: Context, prepared: Prepared, start: StartedModel, depth: int
) -> dict[str, float]:
    """Return the scores of the training rows' features at a depth; 0 for the encoders' end."""
    data, task = prepared.target.data, prepared.target.task
    rows = sample_evenly(data.rows("train"), task.values, task.target, ROWS)
    encoded = encode_rows(start.model, data, rows, context.precision)
    level = {name: find_level(start.model, encoded, name, depth) for name in start.modalities}
    x, y = concatenate_features(encoded, start.modalities, level)
    return compute_scores(x, y, task.target, "not asked for")[0] if len(x) else {}


def find_level(model: MultimodalModel, encoded: Encoded, name: str, depth: int) -> int | None:
    """Return the level of an encoder's features that lies at a depth; None for its end.

    An encoder states as many levels as it likes, so that of the same fraction of its way is
    taken: ⌈depth · levels / depths⌉, counted from 1.
    """
    depths, levels = (
        len(cast(Encoder, model.encoders[name]).depths()),
        len(encoded.features[name].levels),
    )
    if depth == 0 or depth >= depths or levels == 0:
        return None
    return math.ceil(depth * levels / depths) - 1
