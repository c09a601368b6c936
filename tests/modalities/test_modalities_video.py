from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import save_clip, save_sound
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities.audio import Audio, AudioColumn, AudioSpec
from mmx.modalities.clips import describe_clip, has_sound, measure_clip, read_track
from mmx.modalities.video import Video, VideoColumn, VideoSpec
from mmx.tasks.table import Table

SHADES = list(range(0, 200, 10))
"""20 frames at 10 a second."""


def read(source: Any, **options: Any) -> list[int]:
    """Return the shade of the middle of each frame, to the next ten."""
    video = Video(**{"frames": 4, "size": 16, **options})
    stored = video.encode(VideoColumn([source]), [0], video.example())
    return (stored.values[0, :, 8, 8, 0].double() / 10).round().mul(10).int().tolist()


@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "mkv"])
def test_frames_are_evenly_spaced_in_time(suffix: str, tmp_path: Path) -> None:
    path = save_clip(tmp_path / f"a.{suffix}", SHADES)
    # The middles of four parts of 2 s: 0.25, 0.75, 1.25 and 1.75 s.
    assert read(path) == [20, 70, 120, 170]
    assert read(path.read_bytes()) == [20, 70, 120, 170]
    assert read(path, frames=40)[::2] == SHADES
    assert read(path, frames=1) == [100]
    timeline = measure_clip(path, 0)
    assert timeline.duration == pytest.approx(2.0)
    assert len(timeline.seconds) == 20


def test_frames_at_a_rate_hold_the_last_one(tmp_path: Path) -> None:
    path = save_clip(tmp_path / "a.mp4", SHADES)
    assert read(path, fps=5, frames=4) == [0, 20, 40, 60]
    assert read(path, fps=1, frames=4) == [0, 100, 190, 190]
    video = Video(fps=5, frames=4)
    notes = video.remarks(VideoColumn([path]), [0], video.example())
    check_notes(notes, ["video", "4 frames", "0.8 s", "1 of the first 1", "2.0 s"])
    assert Video().remarks(VideoColumn([path]), [0], Video().example()) == ()


def test_a_variable_frame_rate_counts_in_seconds(tmp_path: Path) -> None:
    # Ten frames in the first second; the last of them stays until 1.9 s.
    stamps = [*range(9), 9, 19]
    path = save_clip(tmp_path / "a.mkv", [*range(0, 90, 10), 150, 200], stamps=stamps)
    assert read(path) == [20, 70, 150, 150]
    assert read(path, fps=1, frames=3) == [0, 150, 200]


@pytest.mark.parametrize(("rotation", "corner"), [(0, 0), (90, 2), (180, 3), (-90, 1)])
def test_frames_are_turned_upright(rotation: int, corner: int, tmp_path: Path) -> None:
    frames = np.zeros((3, 64, 48, 3), np.uint8)
    frames[:, :32, :24] = 255  # top left
    path = save_clip(tmp_path / "a.mp4", frames, rotation=rotation)
    video = Video(frames=1, size=(10, 10))
    pixels = video.encode(VideoColumn([path]), [0], video.example()).values[0, 0, :, :, 0]
    corners = [int(pixels[y, x]) > 128 for y in (2, 7) for x in (2, 7)]
    assert corners == [place == corner for place in range(4)]


def test_odd_sizes(tmp_path: Path) -> None:
    path = save_clip(tmp_path / "a.avi", np.full((3, 31, 57, 3), 90, np.uint8), codec="ffv1")
    video = Video(frames=2, size=(31, 57))
    values = video.encode(VideoColumn([path]), [0], video.example()).values
    assert values.shape == (1, 2, 31, 57, 3)
    assert (values.int() - 90).abs().max() <= 2


def test_arrays_and_absent_rows() -> None:
    clips = np.arange(2 * 10, dtype=np.uint8).reshape(2, 10, 1, 1).repeat(8, 2).repeat(8, 3)
    video = Video(frames=5, size=8)
    values = video.encode(VideoColumn(clips), [1], video.example()).values
    assert values[0, :, 0, 0, 0].tolist() == [11, 13, 15, 17, 19]
    absent = VideoColumn([None])
    assert absent.present.tolist() == [False]
    assert not video.encode(absent, [0], video.example()).values.any()
    assert absent.digest(0) == b""


def test_augmentation_moves_all_frames_of_a_clip_alike() -> None:
    torch.manual_seed(0)
    clip = torch.arange(6 * 6).view(1, 1, 6, 6, 1).expand(4, 3, 6, 6, 3).to(torch.uint8)
    video = Video(frames=3, size=6, crop=2, flip=True)
    from mmx.modalities import Stored

    moved = video.augment(Stored(clip.contiguous())).values
    assert not torch.equal(moved, clip)
    assert torch.equal(moved[:, 0], moved[:, 2])
    inputs = video.prepare(Stored(clip.contiguous()), video.example())
    assert inputs.shape == (4, 3, 3, 6, 6)
    assert inputs[0, 0, 1, 5, 4] == pytest.approx(34 / 255)


def broken(folder: Path, name: str) -> tuple[Path, list[str]]:
    whole = save_clip(folder / "whole.mkv", SHADES)
    if name in ("mp4", "mkv"):
        path = save_clip(folder / f"cut.{name}", SHADES)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path, ["cut off", "2.00 s"] if name == "mkv" else []
    if name == "empty":
        path = folder / "empty.mp4"
        path.touch()
        return path, ["empty"]
    if name == "text":
        path = folder / "text.mp4"
        path.write_text("no video at all " * 50)
        return path, []
    if name == "sound":
        return save_sound(folder / "sound.mp4"), ["sound alone"]
    if name == "damaged":
        path = folder / "damaged.mkv"
        content = bytearray(whole.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 400] = bytes(400)
        path.write_bytes(content)
        return path, []
    return folder / "absent.mp4", ["No such file"]


@pytest.mark.parametrize("name", ["mp4", "mkv", "empty", "text", "sound", "damaged", "absent"])
def test_a_broken_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path, said = broken(tmp_path, name)
    video = Video(frames=20, size=16)
    with pytest.raises(DataError) as error:
        video.encode(VideoColumn([None, path]), [0, 1], video.example())
    check_error(error.value, "row 2", str(path), *said)


def test_an_absent_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_clip(tmp_path / "a.mp4", SHADES)
    load = importlib.import_module

    def refuse(name: str) -> Any:
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'")
        return load(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(DataError) as error:
        read(path)
    check_error(error.value, "av", types=["pip install 'mmx[video]'"])


# sound tracks


def tone(hertz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)).astype(
        np.float32
    )


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_sound_track_of_a_video(as_bytes: bool, tmp_path: Path) -> None:
    sound = np.stack([tone(440), 0 * tone(440)])  # a channel of silence halves the mean
    path = save_clip(tmp_path / "a.mp4", SHADES, sound=sound)
    column = AudioColumn([path.read_bytes() if as_bytes else path])
    assert column.measure(0)[1] == 16_000
    stored = Audio(sample_rate=8_000).encode(column, [0], AudioSpec(8_000, 16_000))
    samples = stored.values[0].double().numpy() / 32_768
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=1)  # 2 s: half a hertz a bin
    assert np.sqrt(np.mean(samples[2000:14_000] ** 2)) == pytest.approx(0.25 / 2**0.5, rel=0.05)


def test_channels_of_a_video_that_cancel_each_other_are_refused(tmp_path: Path) -> None:
    path = save_clip(tmp_path / "a.mp4", SHADES, sound=np.stack([tone(440), -tone(440)]))
    with pytest.raises(DataError) as error:
        AudioColumn([path]).read(0)
    check_error(error.value, "row 1", path, "2 channels", types=["target.audio.channel=1"])
    samples, _ = AudioColumn([path]).read(0, channel=1)
    assert np.sqrt(np.mean(samples[4000:28_000] ** 2)) == pytest.approx(0.5 / 2**0.5, rel=0.05)


def test_one_column_for_pictures_and_sound(tmp_path: Path) -> None:
    rows = ["clip,kind"]
    for row in range(20):
        sound = None if row == 3 else tone(300 + 100 * (row % 2))[None]
        save_clip(tmp_path / f"{row}.mp4", SHADES, sound=sound)
        rows.append(f"{row}.mp4,{'ab'[row % 2]}")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(rows) + "\n")
    task = Table(
        name="mine", path=str(table), label="kind", columns={"video": "clip", "audio": "clip"}
    )
    data = task.load()
    assert np.flatnonzero(~data.columns["audio"].present).tolist() == [3]
    assert data.columns["video"].present.all()
    check_notes([note for note in data.notes if "audio" in note], ["audio", "1", "20"])


def test_a_file_of_a_video_without_sound_is_refused_as_a_sound(tmp_path: Path) -> None:
    content = io.BytesIO()
    save_clip(content, SHADES, kind="mp4")
    with pytest.raises(DataError) as error:
        AudioColumn([content.getvalue()]).read(0)
    check_error(error.value, "row 1", "no sound track")


def test_the_spec_says_frames_and_size() -> None:
    assert Video(frames=3, size=(4, 5)).fit(VideoColumn([]), []) == VideoSpec(3, 4, 5)
    assert Video(frames=3, size=4).bytes_per_row(VideoSpec(3, 4, 4)) == 3 * 4 * 4 * 3
    said = Video().other_scale(VideoSpec(16, 32, 32), VideoSpec(8, 64, 64))
    assert said is not None
    assert "target.video.frames=8" in said
    with pytest.raises(ValueError, match="`crop`"):
        Video(size=4, crop=4)


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("kind", ["ffconcat", "sdp", "hls"])
def test_a_list_of_files_or_streams_is_not_followed(
    kind: str, as_bytes: bool, tmp_path: Path
) -> None:
    save_clip(tmp_path / "secret.mp4", SHADES)
    text = {
        "ffconcat": "ffconcat version 1.0\nfile secret.mp4\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    }[kind]
    path = tmp_path / "a.mp4"
    path.write_text(text)
    source = text.encode() if as_bytes else path
    for read_it in (measure_clip, describe_clip, has_sound, read_track):
        with pytest.raises(DataError) as error:
            read_it(source, 0)
        if kind != "hls":  # which FFmpeg knows by its suffix alone
            check_error(error.value, "row 1", "lists of files", "MP4, MOV", "Matroska")


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("3gp", "mpeg4"), ("flv", "flv"), ("m4v", "mpeg4"), ("mpg", "mpeg2video"), ("wmv", "wmv2")],
)
def test_other_containers_are_read(suffix: str, codec: str, tmp_path: Path) -> None:
    path = save_clip(tmp_path / f"a.{suffix}", SHADES, rate=25, codec=codec)
    assert len(read(path)) == 4
    assert read(path) == read(path.read_bytes())
