"""Published video encoders of the library transformers: VideoMAE and its like."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmx.encoders.gradient_checkpointing import checkpoint_transformers
from mmx.encoders.hub import name_folder
from mmx.encoders.hub_encoder import HubEncoder
from mmx.encoders.image.transformers import read_preprocessor
from mmx.encoders.normalize import Normalize
from mmx.encoders.padding import step_mask
from mmx.encoders.transformers_model import make_net, read_model_config
from mmx.errors import DataError
from mmx.modalities import Features, Modality
from mmx.modalities.resized_image import ResizedImage, describe_size
from mmx.modalities.video import Video, VideoSpec


class Transformers(HubEncoder):
    """An encoder of clips, of the architecture that a model's ``config.json`` states.

    Its options are those of :class:`~mmx.encoders.hub_encoder.HubEncoder`. Clips are read as
    the weights expect it: their number of frames, size, crop and interpolation.

    ``tokens`` are the tubelets after the last layer, those of the first frames first; ``levels``
    the means of each layer's, and ``pooled`` the mean of the tokens.

    Args:
        spec: Number and size of the frames.

    Raises:
        DataError: There is no such model, or it is no encoder of clips.

    Reference: Tong et al. 2022, arXiv 2203.12602.
    """

    def __init__(
        self,
        spec: VideoSpec,
        *,
        model: str,
        revision: str | None = None,
        download: bool = False,
        adapter: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        folder = name_folder({"model": model, "revision": revision, "download": download})
        self.net = make_net(folder)
        config: Any = self.net.config
        frames = _count_frames(config, folder.name)
        if frames != spec.frames:
            raise ValueError(
                f"{folder.name} reads clips of {frames} frames, not of {spec.frames}: "
                f"target.video.frames={frames}"
            )
        if gradient_checkpointing:
            checkpoint_transformers(self.net)
        settings = read_preprocessor(folder)
        self.normalize = Normalize(settings.mean, settings.std)
        self.width = int(config.hidden_size)
        self.level_widths = (self.width,) * int(config.num_hidden_layers)

    @classmethod
    def read_with(cls, modality: Modality[Any, Any] | None, **options: Any) -> Modality[Any, Any]:
        """Return clips as the weights expect them, with the task's augmentation."""
        folder = name_folder(options)
        settings = read_preprocessor(folder)
        given = modality if isinstance(modality, Video) else Video()
        video = given.read_frames_with(
            ResizedImage(
                given.image,
                size=settings.size,
                crop_part=settings.crop_part,
                interpolation=settings.interpolation,
                how=settings.how,
            )
        )
        video.frames = _count_frames(read_model_config(folder), folder.name)
        return video

    @classmethod
    def describe_deviations(cls, spec: VideoSpec, **options: Any) -> tuple[str, ...]:
        """Return that frames have another size than the weights were trained on."""
        own = read_preprocessor(name_folder(options)).size
        return describe_size((spec.height, spec.width), own, "target.video.size")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode clips.

        Args:
            x: ``(B, T, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T', D)`` and one level for each layer.
        """
        found = self.net(pixel_values=self.normalize(x), output_hidden_states=True)
        tokens = found.last_hidden_state
        levels = tuple(each.mean(1) for each in found.hidden_states[1:])
        return Features(tokens, step_mask(None, tokens), tokens.mean(1), levels)


def _count_frames(config: Any, name: str) -> int:
    """Return how many frames a model reads.

    Raises:
        DataError: It reads no clips.
    """
    frames = getattr(config, "num_frames", None)
    if not isinstance(frames, int):
        raise DataError(
            f"{name} is a {getattr(config, 'model_type', 'model')}, which reads no clips",
            tip="encoder/video=frames encoder.video.image=transformers reads an image model",
        )
    return frames
