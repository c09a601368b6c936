"""Published audio encoders of the library transformers: Whisper, wav2vec2, HuBERT, WavLM, AST."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.encoders.audio.log_mel_whisper import WhisperLogMel
from mmx.encoders.gradient_checkpointing import checkpoint_transformers
from mmx.encoders.hub import Folder, name_folder
from mmx.encoders.hub_encoder import HubEncoder
from mmx.encoders.padding import step_mask
from mmx.encoders.published import Published
from mmx.encoders.transformers_model import (
    make_net,
    note_padding,
    read_model_config,
    read_net,
)
from mmx.encoders.wrong_paths import explain_folder
from mmx.errors import DataError
from mmx.extras import import_extra
from mmx.modalities import Features, Modality
from mmx.modalities.audio import Audio, AudioSpec
from mmx.modalities.masking import masked_mean


class Transformers(HubEncoder):
    """An encoder of sounds, of the architecture that a model's ``config.json`` states.

    Use it for speech and sounds with few labels. Its options are those of
    :class:`~mmx.encoders.hub_encoder.HubEncoder`; ``preprocessor_config.json`` says at which
    rate sounds are read.

    ``tokens`` are the last hidden states, ``levels`` the means of each layer's, ``pooled`` the
    mean of the tokens.

    Args:
        spec: Rate and longest length of the sounds.

    Raises:
        DataError: There is no such model, or it is no encoder of sounds.
        ValueError: The sounds are longer than the model can hear.

    Example:
        mmx train source=published target=fsdd encoder/audio=transformers
        encoder.audio.model=whisper-tiny transfer=feature
    """

    prefix = "reader.net."

    def __init__(
        self,
        spec: AudioSpec,
        *,
        model: str,
        revision: str | None = None,
        download: bool = False,
        adapter: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        folder = name_folder({"model": model, "revision": revision, "download": download})
        config = read_model_config(folder)
        reader = READERS.get(config.model_type, Waveform)
        self.reader = reader(folder, spec)
        self.library_prefixes = (self.prefix, self.reader.within)
        if gradient_checkpointing:
            checkpoint_transformers(self.reader.net)
        self.width = int(config.hidden_size)
        self.level_widths = (self.width,) * self.reader.layers

    @classmethod
    def read_with(
        cls, modality: Modality[Any, Any] | None, **options: Any
    ) -> Modality[Any, Any] | None:
        """Return the task's sounds at the rate that the weights expect."""
        rate = int(read_extractor(name_folder(options)).sampling_rate)
        if not isinstance(modality, Audio) or modality.sample_rate == rate:
            return modality
        return Audio(
            sample_rate=rate,
            max_seconds=modality.max_seconds,
            shift=modality.shift,
            gain=modality.gain,
            channel=modality.channel,
        )

    @classmethod
    def describe_deviations(cls, spec: AudioSpec, **options: Any) -> tuple[str, ...]:
        """Return that sounds have another rate than the weights were trained on."""
        folder = name_folder(options)
        own, found = int(read_extractor(folder).sampling_rate), list(note_padding(folder))
        if spec.sample_rate != own:
            found.append(
                f"sounds at {spec.sample_rate} Hz, where the weights were trained on {own} Hz: "
                f"target.audio.sample_rate={own}"
            )
        return tuple(found)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode sounds.

        Args:
            x: ``(B, S)`` samples in [-1, 1].
            lengths: ``(B,)`` samples of each sound.

        Returns:
            Tokens ``(B, T, D)`` and one level for each layer.
        """
        hidden, mask = self.reader(x, lengths)
        tokens = hidden[-1].masked_fill(~mask[..., None], 0.0)
        levels = tuple(masked_mean(layer, mask) for layer in hidden[:-1])
        return Features(tokens, mask, masked_mean(tokens, mask), levels)

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the model's weights as the library reads them; see :class:`Encoder`."""
        return self.reader.read_published(published)


class Reader(nn.Module, ABC):
    """What a family of models does with samples; the base of the families.

    Args:
        folder: Of the model.
        spec: Rate and longest length of the sounds.

    Attributes:
        net: The library's model, drawn fresh.
        within: What its tensors' names start with where it is a part of a larger model.
        leaves_torch: What it does outside of torch, so that it cannot be traced; empty for nothing.
        layers: How many layers it has.
    """

    net: Any
    within: ClassVar[str] = ""
    leaves_torch: ClassVar[str] = ""

    @property
    def layers(self) -> int:
        """How many layers the model has."""
        return int(self.net.config.num_hidden_layers)

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Return each layer's states and the last ones ``(B, T, D)``, and their mask ``(B, T)``."""

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return published values of the encoder's tensors, by their names there."""
        return read_net(self.net, published, "reader.net.")


class Whisper(Reader):
    """Whisper's encoder, cropped to the longest clip: it was trained on 30 seconds of padding.

    The positions are those of the clip's own moments, and silence behind the longest clip is
    not computed, which is several times faster on short clips.
    """

    within = "encoder."

    def __init__(self, folder: Folder, spec: AudioSpec) -> None:
        super().__init__()
        library = import_extra("transformers.models.whisper.modeling_whisper", "transformers")
        self.whole = library.WhisperModel
        config = read_model_config(folder)
        extractor = read_extractor(folder)
        most = config.max_source_positions
        hop = 2 * extractor.hop_length  # samples of a token
        if spec.max_samples > most * hop:
            seconds = most * hop / extractor.sampling_rate
            raise ValueError(
                f"sounds of {spec.max_samples / spec.sample_rate:g} s are longer than Whisper "
                f"hears, {seconds:g} s: target.audio.max_seconds={seconds:g} cuts them"
            )
        self.samples = hop
        self.tokens = math.ceil(spec.max_samples / hop)
        self.mel = WhisperLogMel(extractor, 2 * self.tokens)
        net = library.WhisperEncoder(config)
        # Fixed sinusoids: no gradient is meant to reach them.
        positions = net.embed_positions.weight.detach()
        net.embed_positions = nn.Module()
        net.embed_positions.register_buffer("weight", positions)
        self.net = net

    @property
    def layers(self) -> int:
        """How many layers the encoder has."""
        return len(self.net.layers)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Return each layer's states and the last ones, and their mask; see :class:`Reader`."""
        net: Any = self.net
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
        x = x.masked_fill(~step_mask(lengths, x), 0.0)  # behind a clip is silence
        h = F.gelu(net.conv1(self.mel(x).to(net.conv1.weight.dtype)))
        h = F.gelu(net.conv2(h)).transpose(1, 2)  # (B, T, D)
        h = F.dropout(h + net.embed_positions.weight[: self.tokens], net.dropout, self.training)
        states = []
        for layer in net.layers:
            found = layer(h, None)
            h = found[0] if isinstance(found, tuple) else found
            states.append(h)
        heard = -(-lengths // self.samples)
        return [*states, net.layer_norm(h)], step_mask(heard, h)

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the encoder's part of the published model."""
        return read_net(self.net, published, "reader.net.", self.whole, "encoder")


class Waveform(Reader):
    """Models that read samples: wav2vec2, HuBERT, WavLM and their like."""

    def __init__(self, folder: Folder, spec: AudioSpec) -> None:
        super().__init__()
        extractor = read_extractor(folder)
        # SpecAugment masks parts of the input at random, and a vector for it would train.
        self.net = make_net(folder, apply_spec_augment=False, layerdrop=0.0)
        config: Any = self.net.config
        counts = hasattr(self.net, "_get_feat_extract_output_lengths")
        squeezes = hasattr(config, "squeeze_factor")  # SEW: fewer tokens than that method says
        if not counts or squeezes or self.net.main_input_name != "input_values":
            kind = config.model_type
            raise DataError(
                f"model={folder.name}: {kind} is no encoder of sounds that mmx can read",
                tip="Whisper, wav2vec2, HuBERT, WavLM or AST",
            )
        if isinstance(getattr(self.net, "masked_spec_embed", None), nn.Parameter):
            del self.net.masked_spec_embed
        if isinstance(getattr(self.net, "feature_extractor", None), nn.Module):
            # The axis of its output that is time; explanations look for it.
            self.net.feature_extractor.time_axis = 2
        self.normalize = bool(extractor.do_normalize)
        self.masks = bool(extractor.return_attention_mask)
        self.least = _count_samples_of_a_token(self.net.config)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Return each layer's states and the last ones, and their mask; see :class:`Reader`."""
        net: Any = self.net
        lacking = max(0, self.least - x.shape[1])
        if lengths is None and lacking:
            lengths = torch.full((x.shape[0],), x.shape[1], device=x.device)
        x = F.pad(x, (0, lacking))
        valid = step_mask(lengths, x)
        x = x.masked_fill(~valid, 0.0)  # behind a clip is silence
        # Models that were trained without a mask hear the padding as a part of the clip.
        if self.normalize:
            x = _standardize(x, valid if self.masks else torch.ones_like(valid))
        if lengths is not None:  # a clip of less than a token lasts for one
            lengths = lengths.clamp(min=self.least)
        mask = step_mask(lengths, x).to(torch.int64) if self.masks else None
        found = net(x, attention_mask=mask, output_hidden_states=True)
        last = found.last_hidden_state
        heard = None if lengths is None else net._get_feat_extract_output_lengths(lengths)
        return [*found.hidden_states[1:], last], step_mask(heard, last)


class Ast(Reader):
    """The audio spectrogram transformer: patches of a spectrogram of fixed length."""

    leaves_torch: ClassVar[str] = (
        "computes the spectrogram of the audio spectrogram transformer (AST) in numpy"
    )

    def __init__(self, folder: Folder, spec: AudioSpec) -> None:
        super().__init__()
        self.extractor = read_extractor(folder)
        self.net = make_net(folder)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Return each layer's states and the last ones, and their mask; see :class:`Reader`."""
        net: Any = self.net
        count = [x.shape[1]] * len(x) if lengths is None else lengths.clamp(min=400).tolist()
        clips = [each[:length].float().cpu().numpy() for each, length in zip(x, count, strict=True)]
        given = self.extractor(
            clips, sampling_rate=self.extractor.sampling_rate, return_tensors="pt"
        )
        found = net(given["input_values"].to(x.device), output_hidden_states=True)
        last = found.last_hidden_state  # two class tokens, then the patches
        return [*found.hidden_states[1:], last], step_mask(None, last)


READERS: Mapping[str, type[Reader]] = {
    "whisper": Whisper,
    "audio-spectrogram-transformer": Ast,
}
"""Type of a model to what reads samples for it; for all others they are read as they are."""


def read_extractor(folder: Folder) -> Any:
    """Return the library's own extractor of a model's inputs.

    Raises:
        DataError: The folder has none.
    """
    library = import_extra("transformers", "transformers")
    try:
        return library.AutoFeatureExtractor.from_pretrained(folder.path, local_files_only=True)
    except Exception as error:  # of the library
        raise explain_folder(
            folder.path,
            f"{folder.path}: no preprocessing of sounds can be read: {str(error).splitlines()[0]}",
            "the folder must hold preprocessor_config.json",
        ) from error


def _count_samples_of_a_token(config: Any) -> int:
    """Return how many samples a model's convolutions need for one token."""
    samples = 1
    layers = zip(
        getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ()), strict=True
    )
    for kernel, stride in reversed([*layers]):
        samples = (samples - 1) * stride + kernel
    return samples


def _standardize(x: Tensor, valid: Tensor) -> Tensor:
    """Return samples of mean 0 and variance 1 over each clip, zeros behind it."""
    count = valid.sum(1, keepdim=True)
    mean = x.sum(1, keepdim=True) / count  # behind a clip are zeros
    off = (x - mean).masked_fill(~valid, 0.0)
    return off / (off.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
