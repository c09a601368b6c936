"""Videos: as many RGB frames of each, evenly spaced in time, stored as uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import DataError
from mmx.modalities.base import (
    Modality,
    RowNumbers,
    Spec,
    Stored,
    as_rows,
)
from mmx.modalities.clips import measure_clip, read_frames
from mmx.modalities.files import FileOrBytes, call_each
from mmx.modalities.image import Image, ImageColumn, ImageSpec, PixelCount
from mmx.modalities.pixels import resize_bilinear
from mmx.modalities.resized_image import ResizedImage
from mmx.modalities.source_column import SourceColumn

FrameCount = Annotated[int, Field(ge=1, le=4_096)]
Pixels = npt.NDArray[np.uint8]
INSPECTED = 16  # training clips that are inspected for remarks


@dataclass(frozen=True)
class VideoSpec(Spec):
    """The number and the size of the frames of every clip.

    Attributes:
        frames: T.
        height: H, in pixels.
        width: W, in pixels.
    """

    frames: int
    height: int
    width: int


class VideoColumn(SourceColumn):
    """Videos as files, as their content, or as an array.

    Args:
        videos: For each row a path, or the bytes of a file, or None where it has no video; or an
            array ``(N, F, H, W)`` grey or ``(N, F, H, W, 3)`` RGB, uint8.
    """

    what = "video"

    def __init__(self, videos: Sequence[FileOrBytes | None] | Pixels) -> None:
        super().__init__(videos)
        self.videos = videos


class Video(Modality[VideoColumn, VideoSpec]):
    """Clips of one number of RGB frames of one size.

    Use it for a column of video files. The same column may be named as ``audio`` too, which
    reads the sound track.

    Args:
        frames: Frames of a clip. They are those shown in the middle of as many equal parts of its
            duration, whatever its frame rate, and whether that varies or not.
        fps: In place of the whole clip, this many frames a second from its start on; of a clip
            that ends before there are ``frames``, the last one is held.
        size: Side in pixels of a square, or (height, width); frames are resized to it (bilinear,
            antialiased, without keeping the aspect ratio) after they are turned upright.
        crop: In training, shift each clip by up to this many pixels in both directions.
        flip: In training, mirror half of the clips from left to right. Leave it out where left
            and right tell classes apart.

    Raises:
        ValueError: ``crop`` is not smaller than ``size``.
    """

    name = "video"
    streams = True
    column_type = VideoColumn

    def __init__(
        self,
        *,
        frames: FrameCount = 16,
        fps: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] | None = None,
        size: PixelCount | tuple[PixelCount, PixelCount] = 112,
        crop: Annotated[int, Field(ge=0, le=8_192)] = 0,
        flip: bool = False,
    ) -> None:
        self.frames = frames
        self.fps = fps
        self.image = Image(size=size, crop=crop, flip=flip)  # checks size and crop

    def read_frames_with(self, image: Modality[ImageColumn, ImageSpec] | None) -> Video:
        """Return the same clips, each frame read as an encoder of images expects it."""
        other = Video(frames=self.frames, fps=self.fps)
        other.image = image if isinstance(image, Image) else self.image
        return other

    def fit(self, column: VideoColumn, rows: RowNumbers) -> VideoSpec:
        """Return the configured number and size of frames; nothing is learned from the rows."""
        return self.example()

    def encode(self, column: VideoColumn, rows: RowNumbers, spec: VideoSpec) -> Stored:
        """Return ``(B, T, H, W, 3)`` uint8.

        Raises:
            DataError: A file is broken, empty, cut off or has no frames; the message names it.
        """
        rows = as_rows(rows)
        size = (spec.height, spec.width)
        values = np.zeros((len(rows), spec.frames, *size, 3), dtype=np.uint8)

        def decode(i: int) -> None:
            row = int(rows[i])
            if column.present[row]:
                values[i] = [self._fit_frame(each, size) for each in self._read(column, row, spec)]

        call_each(decode, len(rows))
        return Stored(torch.from_numpy(values))

    def _read(self, column: VideoColumn, row: int, spec: VideoSpec) -> list[Pixels]:
        """Return the frames of a clip at their own size; a frame that is held is one object."""
        video = column.videos[row]
        if isinstance(video, FileOrBytes):
            name = column.name_row(row)
            timeline = measure_clip(video, name)
            places = timeline.find(self.choose_times(timeline.duration, spec.frames))
            return read_frames(video, name, timeline, places)
        frames = cast(Pixels, video)  # (F, H, W) or (F, H, W, 3), one a unit of time
        places = (self.choose_times(float(len(frames)), spec.frames) + 1e-9).astype(np.int64)
        chosen = frames[places.clip(0, len(frames) - 1)]
        return list(chosen if chosen.ndim == 4 else chosen[..., None].repeat(3, axis=3))

    def choose_times(self, duration: float, frames: int) -> npt.NDArray[np.float64]:
        """Return ``(T,)`` the times of the frames, in seconds from the start of the clip."""
        if self.fps is not None:
            return np.arange(frames, dtype=np.float64) / self.fps
        return (np.arange(frames, dtype=np.float64) + 0.5) * (duration / frames)

    def _fit_frame(self, pixels: Pixels, size: tuple[int, int]) -> Pixels:
        """Return one frame at the size that the encoder reads."""
        if isinstance(self.image, ResizedImage):
            return self.image.resize(pixels, size)
        return np.asarray(resize_bilinear(PIL.Image.fromarray(pixels), size))

    def example(self) -> VideoSpec:
        """Return the configured number and size of frames."""
        spec = self.image.example()
        return VideoSpec(self.frames, spec.height, spec.width)

    def other_scale(self, spec: VideoSpec, source: VideoSpec) -> str | None:
        """Return a sentence on the frames if their number or size differs."""
        if spec == source:
            return None
        return (
            f"the source's clips have {source.frames} frames of {source.height}×{source.width} "
            f"pixels, the target's {spec.frames} of {spec.height}×{spec.width}, so that things "
            f"differ in speed or size: target.video.frames={source.frames} and "
            f"target.video.size=[{source.height},{source.width}] make them alike"
        )

    def bytes_per_row(self, spec: VideoSpec) -> int:
        """Return T · H · W · 3."""
        return spec.frames * spec.height * spec.width * 3

    def remarks(self, column: VideoColumn, rows: RowNumbers, spec: VideoSpec) -> tuple[str, ...]:
        """Return a note on clips of which ``fps`` leaves out the end."""
        if self.fps is None:
            return ()
        files = [
            (int(row), video)
            for row in as_rows(rows)[:INSPECTED]
            if isinstance(video := column.videos[int(row)], FileOrBytes)
        ]
        covered = spec.frames / self.fps
        try:
            lengths = [measure_clip(video, row).duration for row, video in files]
        except DataError:  # decoding the row will raise it, with its name
            return ()
        cut = sum(length > covered + 1 / self.fps for length in lengths)
        if not cut:
            return ()
        return (
            f"video: {spec.frames} frames at {self.fps:g} a second are the first {covered:g} s; "
            f"{cut} of the first {len(files)} training clips are longer, up to {max(lengths):.1f} "
            "s, and their end is not read",
        )

    def augment(self, stored: Stored) -> Stored:
        """Return each clip shifted and mirrored at random, all its frames alike."""
        batch, frames, height, width, channels = stored.values.shape
        # An image with the channels of all frames, so that one draw moves them together.
        flat = stored.values.permute(0, 2, 3, 1, 4).reshape(batch, height, width, -1)
        moved = self.image.augment(Stored(flat)).values
        moved = moved.view(batch, height, width, frames, channels).permute(0, 3, 1, 2, 4)
        return Stored(moved, stored.lengths)

    def prepare(self, stored: Stored, spec: VideoSpec) -> Tensor:
        """Return ``(B, T, 3, H, W)`` float32 in [0, 1]."""
        return stored.values.permute(0, 1, 4, 2, 3).to(torch.float32).div_(255)
