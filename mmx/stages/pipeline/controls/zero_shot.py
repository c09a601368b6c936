"""Answers from the names of the classes, by the pair that the image encoder is one tower of.

Shape legend: ``N`` rows, ``C`` classes, ``D`` width of the common space, ``K`` templates.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.encoders import Encoder, TextTower
from mmx.encoders.peft_adapter import merge_adapter
from mmx.encoders.published import Published
from mmx.errors import MmxError, TransferError
from mmx.experiment.publishing import class_and_options
from mmx.modalities.text import TextColumn
from mmx.model import MultimodalModel, NoFusion, Parts
from mmx.stages.core.cached import cache_features
from mmx.stages.core.context import Trained
from mmx.stages.pipeline.controls.base import ControlTrainer, TrainedControl
from mmx.training.data import Data, Rows
from mmx.training.encode import encode_rows

IMAGE = "image"
TEXTS_AT_ONCE = 256


class ZeroShotTrainer(ControlTrainer):
    """Compares each image with the texts of the classes; nothing is trained."""

    def train(self, target: Trained) -> TrainedControl:
        """Return the control.

            logits = scale · cos(image, class) + bias

        A class is the mean of its normalised texts; scale and bias are the pair's. Rows without
        an image are answered by the prior of the training rows.

        Raises:
            TransferError: A file is absent or unreadable, or of another architecture.
        """
        began = time.perf_counter()
        try:
            tower, published = self._find_pair()
            scale, bias = tower.read_scale(published)
            classes = self._encode_classes(tower, published)
            model, data = self._encode_images(published)
        except MmxError as error:
            raise TransferError(f"control {self.name}: {error.message}", tip=error.tip) from error
        prior = self.bench.prior

        def answers(rows: Rows) -> Tensor:
            outputs = prior.repeat(len(rows), 1)
            seen = data.present(IMAGE, rows)
            if seen.any():
                found = encode_rows(model, data, rows[seen], self.context.precision)
                images = F.normalize(found.features[IMAGE].pooled, dim=-1).cpu()  # (N, D)
                outputs[torch.from_numpy(seen)] = scale * images @ classes.T + bias
            return outputs

        val = self.bench.validate(answers, target.criterion)
        return TrainedControl(
            self.name,
            answers,
            target.criterion,
            val,
            seconds=time.perf_counter() - began,
            notes=(self._describe(published, scale, bias), *self._note_missing(data)),
        )

    @property
    def _templates(self) -> tuple[str, ...]:
        return self.context.experiment.settings.templates

    @cached_property
    def _names(self) -> Sequence[str]:
        """The names of the classes, in the order of the outputs."""
        return self.bench.as_target.task.target.classes

    def _find_pair(self) -> tuple[TextTower, Published]:
        kind, options = class_and_options(self.context.experiment.encoders[IMAGE])
        tower, published = kind.text_tower(**options), kind.find_published(**options)
        if tower is None or published is None:
            raise RuntimeError("assemble refuses an image encoder without a text tower")
        return tower, published

    def _encode_classes(self, tower: TextTower, published: Published) -> Tensor:
        """Return a normalised vector for each class ``(C, D)``, on the CPU."""
        texts = [text.replace("{}", name) for name in self._names for text in self._templates]
        reader = tower.make.func.read_with(None, **tower.make.keywords)  # type: ignore[attr-defined]
        spec = reader.example()
        encoder = self._load(tower.make(spec), published)
        found = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = texts[start : start + TEXTS_AT_ONCE]
            stored = reader.encode(TextColumn(part), np.arange(len(part)), spec)
            device = self.context.precision.device
            lengths = None if stored.lengths is None else stored.lengths.to(device)
            x = reader.prepare(stored, spec).to(device)
            with torch.no_grad(), self.context.precision.autocast():
                found.append(encoder(x, lengths).pooled.float())
        each = F.normalize(torch.cat(found), dim=-1)  # (C·K, D)
        mean = each.reshape(len(self._names), len(self._templates), -1).mean(1)
        return F.normalize(mean, dim=-1).cpu()

    def _encode_images(self, published: Published) -> tuple[MultimodalModel, Data]:
        """Return the image tower, and the data with its features, which the cache may hold."""
        opened = self.bench.as_target
        specs = {IMAGE: opened.specs[IMAGE]}
        encoders = {IMAGE: self.context.experiment.encoders[IMAGE]}
        model = MultimodalModel(specs, encoders, NoFusion, 0, Parts())
        self._load(cast("Encoder", model.encoders[IMAGE]), published)
        model.to(self.context.precision.device).eval()
        alone = opened.data.select_modality(IMAGE)
        return model, cache_features(self.context, replace(opened, data=alone), model, IMAGE)

    def _load(self, encoder: Encoder, published: Published) -> Encoder:
        """Give an encoder its published weights, on the run's device."""
        tensors = encoder.read_published(published)
        if published.adapter:  # of one tower, or of both
            tensors, _ = merge_adapter(encoder, tensors, published, needed=False)
        encoder.load_state_dict(tensors)
        return encoder.to(self.context.precision.device).eval()

    def _describe(self, published: Published, scale: float, bias: float) -> str:
        texts = ", ".join(f'"{text}"' for text in self._templates)
        scores = f"scores are {scale:.4g} times the cosine of image and class"
        if bias:
            scores += (
                f" {bias:+.4g}, and the largest answers: the pair was trained to say yes or no to "
                "each text alone, so that their softmax is no probability of its own"
            )
        return (
            f"control {self.name}: {texts}, by {published.describe()}; no label of the target; "
            f"{scores}"
        )

    def _note_missing(self, data: Data) -> tuple[str, ...]:
        rows = np.concatenate([data.splits["val"], data.splits["test"]])
        lacking = int((~data.present(IMAGE, rows)).sum())
        if not lacking:
            return ()
        return (
            f"control {self.name}: {lacking} of {len(rows)} validation and test rows have no "
            f"image and are answered by the prior",
        )
