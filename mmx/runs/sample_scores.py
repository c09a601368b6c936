"""scores.safetensors: what each test sample adds to the metric of the target and its controls.

A sweep reads these of its runs, to say how sure a mean gain is over seeds and samples.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmx.evaluation.sample_metric import SampleScores
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
    """Keep the scores of a run, all of the same test samples.

    Args:
        directory: Of the run.
        target: Scores of the target.
        controls: Those of its controls by name.
        contents: What the samples are: a digest of each modality and of the labels.
    """
    parts = {name: torch.from_numpy(each.statistics) for name, each in controls.items()}
    checkpoint.write_checkpoint(
        directory.path / FILE,
        {
            "rows": torch.from_numpy(target.rows),
            TARGET: torch.from_numpy(target.statistics),
            **checkpoint.add_prefix(_CONTROL, parts),
        },
        {"metric": target.metric, "contents": dict(contents or {})},
    )


def read_scores(directory: RunDirectory) -> tuple[SampleScores, dict[str, SampleScores]] | None:
    """Return the scores of the target and of its controls by name; None where there are none.

    Raises:
        DamagedFileError: They are not what mmx wrote.
    """
    path = directory.path / FILE
    recorded.check_file(directory.path, [FILE])
    if not path.is_file():
        return None
    tensors, facts = checkpoint.read_checkpoint(path)
    rows, metric = tensors["rows"].numpy(), str(facts["metric"])
    controls = checkpoint.take_prefix(_CONTROL, tensors)
    return (
        SampleScores(metric, tensors[TARGET].numpy(), rows),
        {name: SampleScores(metric, each.numpy(), rows) for name, each in controls.items()},
    )


def contents(directory: RunDirectory) -> dict[str, str]:
    """Return the digests of the test samples; empty for runs of before they were kept."""
    _, facts = checkpoint.read_checkpoint(directory.path / FILE)
    found = facts.get("contents", {})
    return {str(key): str(value) for key, value in found.items()}
