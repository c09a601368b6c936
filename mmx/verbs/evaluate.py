"""``mmx eval RUN``: measure a run's target model again, on one of its splits.

Prints the metrics as one JSON object on stdout.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from rich.console import Console

from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict
from mmx.experiment import assemble
from mmx.runs.directory import RunDirectory
from mmx.stages import load_trained, open_trained
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic
from mmx.verbs.arguments import Parser, allowed_packages, keep_threads


def main(arguments: Sequence[str]) -> int:
    """Evaluate, and return the exit code."""
    parser = Parser("eval", description=__doc__).with_run().with_allow()
    parser.add_argument("--split", choices=("test", "val", "train"), default="test")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default=None)
    given = parser.parse_args(arguments)
    directory = RunDirectory.open(given.run)
    experiment = assemble(directory.config(), allowed_packages(given.allow))
    keep_threads(directory)
    make_deterministic(experiment.trainer.threads)
    device = choose_device(given.device or experiment.settings.device)
    precision = Precision.choose(experiment.settings.precision, device)
    trained = load_trained(experiment, directory, device)
    task = experiment.target.load()
    seen = directory.manifest().get("data", {}).get("target")
    console = Console(stderr=True)
    if seen != task.fingerprint:
        console.print("note: the data is not what the run was trained on")
    data = open_trained(experiment, trained, task, precision).unlocked()
    loss_of = experiment.objective.bind(
        task.values[torch.from_numpy(task.splits["train"])], task.target.outputs
    )
    outputs, values = predict(trained.model, data, data.rows(given.split), precision)
    print(json.dumps({given.split: measure(outputs, values, task.target, loss_of)}))
    return 0
