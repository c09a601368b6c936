"""Frames and sound track of a video file, by its time stamps; what is broken is refused by name.

PyAV decodes: it brings FFmpeg with it, and states the display time, the rotation and the damage of
each frame.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.errors import DataError
from mmx.extras import import_extra
from mmx.modalities.channels import refuse_cancelled
from mmx.modalities.files import FileOrBytes, RowName, make_unreadable_error, read_file

Frame = npt.NDArray[np.uint8]
"""``(H, W, 3)``, as it is to be shown."""

CUT_OFF = 0.9  # part of the stated length that a whole file has at least
LEAST_CUT = 0.5  # seconds that may lack in any case, since containers round their length
MAGICS = {0: (b"\x1aE\xdf\xa3", b"FLV", b"0&\xb2u", b"\x00\x00\x01\xba"), 4: (b"ftyp", b"moov")}
"""First bytes of Matroska, WebM, Flash, ASF, MPEG; then of MP4 and QuickTime, behind a length."""
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,ogg,mpeg,mpegts,mpegvideo,m4v,mxf,gif"
"""FFmpeg's names of the formats that are read. None of them opens another file or the network, as
lists of files (ffconcat, HLS, DASH) and descriptions of streams (SDP) do."""
READ = "MP4, MOV, 3GP, Matroska, WebM, AVI, FLV, ASF, WMV, Ogg, MPEG, MXF and GIF"
SAFE = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
"""Options with which FFmpeg opens a file or bytes, and nothing else."""


@dataclass(frozen=True)
class Timeline:
    """When the frames of a video are shown.

    Attributes:
        stamps: ``(F,)`` display times in units of the stream, ascending.
        seconds: ``(F,)`` the same in seconds, from 0.
        duration: Seconds until the last frame ends.
    """

    stamps: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    duration: float

    def find(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return which frame is shown at each time in seconds; the last one from its time on."""
        return np.searchsorted(self.seconds, times + 1e-9, side="right").clip(1) - 1


def is_container(source: FileOrBytes) -> bool:
    """Return whether a file is of a format that holds videos, by its first bytes."""
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                head = file.read(12)
        else:
            head = read_file("video", source, 0)[:12]
    except (OSError, DataError):  # reading it will name it
        return False
    riff = head.startswith(b"RIFF") and head[8:] == b"AVI "
    return riff or any(head[at:].startswith(magics) for at, magics in MAGICS.items())


def measure_clip(source: FileOrBytes, row: RowName) -> Timeline:
    """Return when the frames of a video are shown, without decoding them.

    Raises:
        DataError: The file cannot be read, has no picture, or is cut off.
    """
    with _open(source, row) as container:
        stream = _find_video(container, source, row)
        return _read_timeline(container, stream, source, row)


def describe_clip(source: FileOrBytes, row: RowName) -> tuple[int, float, int, int]:
    """Return frames, seconds, width and height of a video as stored, without decoding it.

    Raises:
        DataError: The file cannot be read, has no picture, or is cut off.
    """
    with _open(source, row) as container:
        stream = _find_video(container, source, row)
        timeline = _read_timeline(container, stream, source, row)
        width, height = stream.codec_context.width, stream.codec_context.height
        return len(timeline.stamps), timeline.duration, width, height


def read_frames(
    source: FileOrBytes, row: RowName, timeline: Timeline, places: npt.NDArray[np.int64]
) -> list[Frame]:
    """Return the frames at some places of a video's timeline, in the given order.

    Args:
        source: The file or its bytes.
        row: Row number, from 0, for messages.
        timeline: Of the same file.
        places: ``(K,)`` which frames.

    Raises:
        DataError: One of them cannot be decoded, or is damaged.
    """
    wanted = {int(timeline.stamps[place]) for place in places}
    found: dict[int, Frame] = {}
    with _open(source, row) as container:
        stream = _find_video(container, source, row)
        for frame in _decode(container, stream, source, row):
            stamp = frame.pts
            if stamp in wanted and stamp not in found:
                if frame.is_corrupt:
                    raise make_unreadable_error("video", source, row, _name_time(frame, "damaged"))
                found[stamp] = _show(frame)
                if len(found) == len(wanted):
                    break
    if lost := sorted(wanted - found.keys()):
        at = timeline.seconds[np.searchsorted(timeline.stamps, lost[0])]
        why = f"{len(lost)} of {len(wanted)} frames cannot be decoded, the first at {at:.3f} s"
        raise make_unreadable_error("video", source, row, why)
    return [found[int(timeline.stamps[place])] for place in places]


def has_sound(source: FileOrBytes, row: RowName) -> bool:
    """Return whether a video has a sound track.

    Raises:
        DataError: The file cannot be read.
    """
    with _open(source, row) as container:
        return bool(container.streams.audio)


def count_track_samples(source: FileOrBytes, row: RowName) -> int:
    """Return the samples of a sound track over all its channels, without decoding them.

    They are counted by the durations of its packets, since a header may say anything.

    Raises:
        DataError: The file cannot be read.
    """
    with _open(source, row) as container:
        if not container.streams.audio:
            return 0
        stream = container.streams.audio[0]
        try:
            ticks = sum(packet.duration or 0 for packet in container.demux(stream))
        except Exception as error:  # FFmpeg's errors, of many types
            raise make_unreadable_error("sound", source, row, error) from error
        seconds = float(ticks * stream.time_base)
        return int(seconds * stream.rate * max(1, stream.channels))


def read_track(
    source: FileOrBytes, row: RowName, channel: int | None = None
) -> tuple[npt.NDArray[np.float32], int]:
    """Return the sound track of a video, mono in [-1, 1], ``(S,)``, and its rate in Hz.

    Args:
        source: The file, or its content.
        row: The row, for messages.
        channel: Which channel is read, from 1; None: their mean.

    Raises:
        DataError: The file cannot be read, has no sound or not so many channels, is cut off, or
            has channels that cancel each other.
    """
    av = _import_av()
    with _open(source, row) as container:
        if not container.streams.audio:
            raise make_unreadable_error("sound", source, row, "the file has no sound track")
        stream = container.streams.audio[0]
        if channel is not None and channel > stream.channels:
            why = f"its sound has {stream.channels} channels, and channel={channel} was asked for"
            raise make_unreadable_error("sound", source, row, why)
        resampler = av.AudioResampler(format="fltp")  # the layout and rate stay
        parts: list[npt.NDArray[np.float32]] = []
        power = np.zeros(2)  # of the channels, and of what is read
        for frame in _decode(container, stream, source, row):
            if frame.is_corrupt:
                raise make_unreadable_error("sound", source, row, _name_time(frame, "damaged"))
            for each in resampler.resample(frame):
                samples = each.to_ndarray()  # (channels, S)
                parts.append(samples.mean(axis=0) if channel is None else samples[channel - 1])
                power += np.square(samples).mean(axis=0).sum(), np.square(parts[-1]).sum()
        rate = int(stream.rate)
        samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        stated = float(stream.duration * stream.time_base) if stream.duration else 0.0
        if len(samples) < CUT_OFF * rate * stated - LEAST_CUT * rate:
            there = len(samples) / rate
            why = f"it is cut off: its header says {stated:.2f} s, {there:.2f} s are there"
            raise make_unreadable_error("sound", source, row, why)
        if channel is None and len(samples):
            before, after = (power / len(samples)).tolist()
            refuse_cancelled(before, after, stream.channels, source, row)
        return samples.astype(np.float32), rate


def _import_av() -> Any:
    return import_extra("av", "video", "reading videos")


@contextmanager
def _open(source: FileOrBytes, row: RowName) -> Iterator[Any]:
    """Open a container for a while."""
    av = _import_av()
    try:
        content = None if isinstance(source, Path) else read_file("video", source, row)
        if isinstance(source, Path) and not source.stat().st_size:
            raise make_unreadable_error("video", source, row, "it is empty")
        container = av.open(str(source) if content is None else io.BytesIO(content), options=SAFE)
    except av.error.ArgumentError as error:  # also for a format that is not in the list
        why = error.strerror
        if not is_container(source):
            why = (
                f"it is damaged, or of none of the formats that are read: {READ}; lists of files "
                "and descriptions of streams are not followed"
            )
        raise make_unreadable_error("video", source, row, why) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise make_unreadable_error("video", source, row, why) from error
    with container:
        yield container


def _find_video(container: Any, source: FileOrBytes, row: RowName) -> Any:
    """Return the stream of frames; a cover image of a sound is none."""
    av = _import_av()
    cover = av.stream.Disposition.attached_pic
    found = [each for each in container.streams.video if not each.disposition & cover]
    if not found:
        why = "it holds sound alone" if container.streams.audio else "it holds no frames"
        raise make_unreadable_error("video", source, row, why)
    return found[0]


def _read_timeline(container: Any, stream: Any, source: FileOrBytes, row: RowName) -> Timeline:
    """Return the display times of all frames, from the packets."""
    av = _import_av()
    stamps: list[int] = []
    ends: list[int] = []
    reached = 0.0  # seconds, of any stream
    try:
        for packet in container.demux():
            if packet.pts is None:
                continue
            end = packet.pts + (packet.duration or 0)
            reached = max(reached, float(end * packet.time_base))
            if packet.stream.index == stream.index and not packet.is_discard:
                stamps.append(packet.pts)
                ends.append(end)
    except (av.error.FFmpegError, ValueError) as error:
        raise make_unreadable_error("video", source, row, error) from error
    if not stamps:
        raise make_unreadable_error("video", source, row, "it holds no frame with a time")
    if stream.frames and len(stamps) < CUT_OFF * stream.frames:
        why = f"it is cut off: its header says {stream.frames} frames, {len(stamps)} are there"
        raise make_unreadable_error("video", source, row, why)
    stated = (container.duration or 0) / av.time_base + (container.start_time or 0) / av.time_base
    if reached < min(CUT_OFF * stated, stated - LEAST_CUT):
        why = f"it is cut off: its header says {stated:.2f} s, {reached:.2f} s are there"
        raise make_unreadable_error("video", source, row, why)
    unique = np.unique(np.array(stamps, dtype=np.int64))
    unit = float(stream.time_base)
    gap = int(np.median(np.diff(unique))) if len(unique) > 1 else 1
    # A last frame that states no duration is shown as long as most others.
    last = max(ends) if max(ends) > unique[-1] else int(unique[-1]) + gap
    return Timeline(unique, (unique - unique[0]) * unit, float((last - unique[0]) * unit))


def _decode(container: Any, stream: Any, source: FileOrBytes, row: RowName) -> Iterator[Any]:
    av = _import_av()
    try:
        yield from container.decode(stream)
    except (av.error.FFmpegError, ValueError) as error:
        raise make_unreadable_error("video", source, row, error) from error


def _show(frame: Any) -> Frame:
    """Return a frame as a player shows it: RGB, turned as its display matrix says."""
    pixels: Frame = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _name_time(frame: Any, what: str) -> str:
    return f"it is {what} at {frame.time or 0.0:.3f} s"
