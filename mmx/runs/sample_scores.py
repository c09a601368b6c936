"""``scores.safetensors``: what each test row adds to the metric of the target and its controls.

A sweep reads them from its runs to compute the confidence interval of a mean gain.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmx.evaluation.sample_metric import SampleScores
from mmx.metrics import describe_metric, restore_metric
from mmx.runs import recorded
from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint

FILE = "scores.safetensors"
TARGET = "target"
_CONTROL = "control"


def write_scores(
    directory: RunDirectory,
    target: SampleScores,
    controls: Mapping[str, SampleScores],
    contents: Mapping[str, str] | None = None,
) -> None:
    """Write the scores of a run, all for the same test rows.

    Args:
        directory: The run's directory.
        target: Scores of the target.
        controls: Scores of its controls by name.
        contents: Digests of the test rows: one for each modality and one for the labels.
    """
    parts = {name: torch.from_numpy(each.statistics) for name, each in controls.items()}
    checkpoint.write_checkpoint(
        directory.path / FILE,
        {
            "rows": torch.from_numpy(target.rows),
            TARGET: torch.from_numpy(target.statistics),
            **checkpoint.add_prefix(_CONTROL, parts),
        },
        {
            "metric": target.metric,
            "contents": dict(contents or {}),
            **({} if target.chosen is None else {"form": describe_metric(target.chosen)}),
        },
    )


def read_scores(directory: RunDirectory) -> tuple[SampleScores, dict[str, SampleScores]] | None:
    """Return the scores of the target and of its controls by name; None if there are none.

    None also if they are of a metric that is not one of mmx: its class would have to be run.

    Raises:
        DamagedFileError: They are not what mmx wrote.
    """
    path = directory.path / FILE
    recorded.check_file(directory.path, [FILE])
    if not path.is_file():
        return None
    tensors, facts = checkpoint.read_checkpoint(path)
    rows, metric = tensors["rows"].numpy(), str(facts["metric"])
    form = restore_metric(metric, facts.get("form") or {})
    if form is None:
        return None
    chosen = form if "form" in facts else None
    controls = checkpoint.take_prefix(_CONTROL, tensors)
    return (
        SampleScores(metric, tensors[TARGET].numpy(), rows, chosen),
        {name: SampleScores(metric, each.numpy(), rows, chosen) for name, each in controls.items()},
    )


def read_contents(directory: RunDirectory) -> dict[str, str]:
    """Return the digests of the test rows; empty for runs made before they were recorded."""
    _, facts = checkpoint.read_checkpoint(directory.path / FILE)
    found = facts.get("contents", {})
    return {str(key): str(value) for key, value in found.items()}
