import math

import numpy as np
import pytest
import soundfile
import torch
from refusals import check_error

from mmx.errors import DataError
from mmx.modalities import Stored
from mmx.modalities.audio import Audio, AudioColumn, AudioSpec
from mmx.modalities.sounds import read_sound


def tone(hertz: float, rate: int, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def loudest(samples: torch.Tensor, rate: int) -> float:
    spectrum = torch.fft.rfft(samples.double()).abs()
    return float(spectrum.argmax()) * rate / len(samples)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 16000])
def test_a_440_hz_tone_stays_440_hz_and_keeps_its_length(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(440, rate, 0.5), rate)
    audio = Audio(sample_rate=16000)
    column = AudioColumn([tmp_path / "a.wav"])
    spec = audio.fit(column, [0])
    stored = audio.encode(column, [0], spec)
    assert spec == AudioSpec(16000, 8000)
    assert stored.values.dtype == torch.int16
    assert stored.lengths.tolist() == [8000]
    inputs = audio.prepare(stored, spec)
    assert loudest(inputs[0], 16000) == pytest.approx(440, abs=2)
    assert float(inputs[0, 1000:7000].abs().max()) == pytest.approx(0.5, abs=0.02)


def test_rows_are_padded_cut_and_absent(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.full(3, 0.25), 8000)
    soundfile.write(tmp_path / "long.wav", np.full(20, -0.5), 8000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    paths = [tmp_path / "long.wav", None, tmp_path / "short.wav", tmp_path / "empty.wav"]
    stored = Audio(sample_rate=8000).encode(AudioColumn(paths), range(4), AudioSpec(8000, 5))
    assert stored.values.tolist() == [
        [-16384] * 5, [0] * 5, [8192] * 3 + [0] * 2, [0] * 5
    ]  # fmt: skip
    assert stored.lengths.tolist() == [5, 0, 3, 1]


def test_channels_are_mixed(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, 0.0], [0.5, -0.5]]), 8000)
    stored = Audio(sample_rate=8000).encode(
        AudioColumn([tmp_path / "a.wav"]), [0], AudioSpec(8000, 2)
    )
    assert stored.values.tolist() == [[8192, 0]]


def test_length_is_that_of_the_longest_training_row(tmp_path):
    for name, count in (("a", 100), ("b", 441), ("test", 900)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(count), 44100)
    column = AudioColumn([tmp_path / f"{name}.wav" for name in ("a", "b", "test")])
    assert Audio(sample_rate=16000).fit(column, [0, 1]) == AudioSpec(16000, 160)
    fixed = Audio(sample_rate=8000, max_seconds=0.5)
    assert fixed.fit(column, [0, 1]) == AudioSpec(8000, 4000)


def test_no_training_row_has_sound():
    with pytest.raises(DataError) as error:
        Audio().fit(AudioColumn([None]), [0])
    check_error(error.value, "max_seconds=null", "training", "row", types=("max_seconds", "1.0"))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_arrays_survive_unchanged(dtype):
    counts = np.array([[0, 1, -32768, 32767]], dtype=np.int16)
    array = counts if dtype == np.int16 else (counts / 32768).astype(dtype)
    column = AudioColumn(array, sample_rate=8000)
    stored = Audio(sample_rate=8000).encode(column, [0], AudioSpec(8000, 4))
    assert stored.values.tolist() == counts.tolist()


def test_an_array_and_only_an_array_has_a_rate():
    message = r"^`sample_rate` belongs to an array of samples, and only to one$"
    with pytest.raises(ValueError, match=message):
        AudioColumn(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=message):
        AudioColumn([None], sample_rate=8000)


def test_a_corrupt_sound_names_row_and_path(tmp_path):
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"not a sound")
    column = AudioColumn([None, junk])
    with pytest.raises(DataError) as error:
        Audio().encode(column, [0, 1], AudioSpec(16000, 4))
    check_error(error.value, "2", junk, "Format", "row")
    with pytest.raises(DataError, match=r"^row 2: cannot read sound"):
        Audio().fit(column, [0, 1])


def test_shift_moves_sound_and_fills_with_silence():
    values = torch.arange(1, 11, dtype=torch.int16).repeat(50, 1)
    lengths = torch.full((50,), 10)
    lengths[0] = 0
    torch.manual_seed(0)
    stored = Audio(sample_rate=100, shift=0.03).augment(Stored(values, lengths))
    moved = set()
    for row, length in zip(stored.values[1:].tolist(), stored.lengths[1:].tolist(), strict=True):
        shift = row.index(1) if 1 in row else -(row[0] - 1)
        expected = [x if 1 <= (x := i + 1 - shift) <= 10 else 0 for i in range(10)]
        assert row == expected
        assert length == min(10, 10 + shift)
        moved.add(shift)
    assert moved == set(range(-3, 4))
    assert stored.lengths[0] == 0


def test_gain_changes_loudness_per_row_within_its_bounds():
    values = torch.full((200, 4), 1000, dtype=torch.int16)
    torch.manual_seed(0)
    stored = Audio(gain=6.0).augment(Stored(values, torch.full((200,), 4)))
    assert stored.values.dtype == torch.int16
    loudness = stored.values[:, 0]
    assert 501 <= int(loudness.min()) < 550
    assert 1800 < int(loudness.max()) <= 1996
    assert len(loudness.unique()) > 100
    loud = torch.full((20, 1), 32767, dtype=torch.int16)
    clipped = Audio(gain=6.0).augment(Stored(loud, torch.ones(20, dtype=torch.int64)))
    assert int(clipped.values.min()) > 0  # cut off, not wrapped around


def test_without_augmentation_nothing_is_drawn():
    state = torch.get_rng_state()
    stored = Stored(torch.ones(2, 4, dtype=torch.int16), torch.tensor([4, 4]))
    assert torch.equal(Audio().augment(stored).values, stored.values)
    assert torch.equal(torch.get_rng_state(), state)


def test_digest_is_content_not_path(tmp_path):
    for name, value in (("a", 0.1), ("b", 0.1), ("c", 0.2)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(4, value), 8000)
    column = AudioColumn([tmp_path / f"{name}.wav" for name in "abc"])
    assert column.digest(0) == column.digest(1) != column.digest(2)
    samples = np.zeros((1, 4), dtype=np.int16)
    slow, fast = AudioColumn(samples, sample_rate=8000), AudioColumn(samples, sample_rate=16000)
    assert slow.digest(0) != fast.digest(0)


def test_bytes_per_row():
    assert Audio().bytes_per_row(AudioSpec(8000, 100)) == 208


def test_sounds_of_another_rate_are_named_with_what_makes_them_alike():
    slow, fast = AudioSpec(8000, 100), AudioSpec(16000, 100)
    assert Audio().other_scale(slow, AudioSpec(8000, 900)) is None
    assert Audio().other_scale(slow, fast) == (
        "the source's sounds have 16000 Hz, the target's 8000 Hz, and an encoder's bands reach up "
        "to half of that: target.audio.sample_rate=16000 or source.audio.sample_rate=8000 makes "
        "them alike"
    )


def refusal(path, row: int = 0) -> DataError:
    with pytest.raises(DataError) as error:
        Audio().encode(AudioColumn([None] * row + [path]), [row], AudioSpec(8000, 4000))
    return error.value


def rms(path) -> float:
    column, audio = AudioColumn([path]), Audio(sample_rate=8000)
    spec = audio.fit(column, [0])
    assert spec.max_samples == 4000
    return float(audio.prepare(audio.encode(column, [0], spec), spec)[0].pow(2).mean().sqrt())


EXPECTED = 0.5 / 2**0.5


def test_a_streamed_flac_is_read_to_its_end(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(440, 8000, 0.5), 8000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the number of samples: unknown
    (tmp_path / "a.flac").write_bytes(content)
    assert rms(tmp_path / "a.flac") == pytest.approx(EXPECTED, abs=1e-3)


def test_a_flac_that_says_a_wrong_length_is_refused_and_not_made_room_for(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(440, 8000, 0.5), 8000)
    content = bytearray(path.read_bytes())
    content[22:26] = b"\x7f\xff\xff\xff"
    path.write_bytes(content)
    assert Audio(sample_rate=8000).fit(AudioColumn([path]), [0]) == AudioSpec(8000, 4000)
    check_error(refusal(path), "1", path, "2147483647 samples", "4000")


def test_a_streamed_wav_is_read_to_its_end(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(440, 8000, 0.5), 8000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    assert rms(tmp_path / "a.wav") == pytest.approx(EXPECTED, abs=1e-3)


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_U8"), ("wav", "PCM_24"), ("wav", "PCM_32"), ("wav", "FLOAT"), ("wav", "DOUBLE"),
     ("aiff", "PCM_16"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("au", "ULAW")],
)  # fmt: skip
def test_every_coding_has_the_same_loudness(tmp_path, suffix, subtype):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(440, 8000, 0.5), 8000, subtype=subtype)
    assert rms(path) == pytest.approx(EXPECTED, abs=0.01)
    misnamed = path.rename(tmp_path / "other.mp3")
    assert rms(misnamed.read_bytes()) == pytest.approx(EXPECTED, abs=0.01)


def test_floats_in_the_scale_of_integers_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    for scale, peak in ((32768, "16384"), (3, "1.5")):
        soundfile.write(path, scale * tone(1000, 8000, 0.5), 8000, subtype="FLOAT")
        error = refusal(path, row=2)
        check_error(error, "row 3", path, "full scale (±1)", f"up to {peak}")
    with pytest.raises(DataError) as caught:
        AudioColumn(np.array([[0.0, 0.5, 300.0, 0.1]]), sample_rate=8000).read(0)
    check_error(caught.value, "row 1", "25% of the samples", "up to 300")


def test_a_few_samples_just_beyond_full_scale_are_clipped(tmp_path):
    samples = tone(440, 8000, 0.5)
    samples[:5] = 1.2
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    assert rms(tmp_path / "a.wav") == pytest.approx(EXPECTED, abs=0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    samples = tone(440, 8000, 0.5)
    samples[9] = value
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    check_error(refusal(tmp_path / "a.wav"), "1", f"{tmp_path}/a.wav", "4000 samples", "NaN", "10")


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au", "flac", "ogg", "w64"])
def test_a_sound_that_is_cut_off_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.tile(tone(440, 8000, 0.5), 4), 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert refusal(path).message.startswith(f"row 1: cannot read sound {path}: ")


def test_a_header_that_hides_samples_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(440, 8000, 0.5), 8000)
    content = bytearray(path.read_bytes())
    for said, why in (
        (0, "its 8044 bytes hold no sample that can be read"),
        (1000, "its header leaves out 7000 of the file's 8044 bytes"),
        (9000, "it is cut off: its header says 9000 bytes of samples, the file has 8000"),
    ):
        content[40:44] = said.to_bytes(4, "little")
        path.write_bytes(content)
        check_error(refusal(path), "1", path, why, "row")


@pytest.mark.parametrize("name", ["empty.wav", "samples.raw"])
def test_what_is_no_sound_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"" if name == "empty.wav" else b"1234" * 100)
    assert refusal(tmp_path / name).message.startswith("row 1: cannot read sound ")


def write_channels(path, count: int, sounding: dict[int, float]):
    wave = tone(440, 8000, 0.5)
    samples = np.stack([sounding.get(k, 0.0) * wave for k in range(count)], -1)
    soundfile.write(path, samples, 8000)
    return path


def test_eight_channels_are_averaged_or_one_is_read(tmp_path):
    path = write_channels(tmp_path / "a.wav", 8, {2: 1.0})
    assert rms(path) == pytest.approx(EXPECTED / 8, abs=1e-3)
    column = AudioColumn([path])
    for channel, loud in ((3, EXPECTED), (1, 0.0)):
        audio = Audio(sample_rate=8000, channel=channel)
        stored = audio.encode(column, [0], AudioSpec(8000, 4000))
        found = audio.prepare(stored, AudioSpec(8000, 4000)).square().mean().sqrt()
        assert float(found) == pytest.approx(loud, abs=1e-3)
    with pytest.raises(DataError) as error:
        Audio(channel=9).encode(column, [0], AudioSpec(16000, 4000))
    check_error(error.value, "row 1", path, "8 channels", "channel=9")


def test_channels_that_cancel_each_other_are_refused(tmp_path):
    path = write_channels(tmp_path / "a.wav", 2, {0: 1.0, 1: -1.0})
    check_error(refusal(path), "row 1", path, "2 channels", types=["target.audio.channel=1"])
    one = Audio(sample_rate=8000, channel=1).encode(AudioColumn([path]), [0], AudioSpec(8000, 4000))
    assert float(one.values.double().square().mean().sqrt()) / 32768 == pytest.approx(
        EXPECTED, abs=1e-3
    )
    silent = write_channels(tmp_path / "b.wav", 2, {})
    assert rms(silent) == 0


@pytest.mark.parametrize(("peak", "typed"), [(1.0401, "1.05"), (3.0, "3"), (30000.0, "32768")])
def test_what_to_divide_a_loud_sound_by(tmp_path, peak, typed):
    samples = np.linspace(-peak, peak, 2000, dtype=np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    with pytest.raises(DataError) as error:
        read_sound(path, 0)
    check_error(error.value, "row 1", path, types=[f"divide its samples by {typed}"])
    soundfile.write(path, samples / float(typed), 8000, subtype="FLOAT")
    assert np.abs(read_sound(path, 0)[0] * float(typed) - samples).max() < 1e-3 * peak


def test_silent_sounds_are_counted(tmp_path):
    for place in range(20):
        scale = (1.0, 0.0, 1e-6)[place % 3] if place else 1.0
        soundfile.write(tmp_path / f"{place}.wav", scale * tone(440, 8000, 0.1), 8000, "FLOAT")
    column = AudioColumn([tmp_path / f"{place}.wav" for place in range(20)])
    rows, audio = range(20), Audio(sample_rate=8000)
    (note,) = audio.remarks(column, rows, audio.fit(column, rows))
    assert note.startswith("audio: 13 of 20 training sounds listened to are silent")
    loud = [row for row in rows if row % 3 == 0]
    assert audio.remarks(column, loud, audio.fit(column, rows)) == ()


def test_long_sounds_are_not_all_listened_to():
    sounds = np.zeros((3, 8000 * 50), dtype=np.int16)
    column = AudioColumn(sounds, sample_rate=8000)
    audio = Audio(sample_rate=8000)
    (note,) = audio.remarks(column, range(3), audio.fit(column, range(3)))
    assert note.startswith("audio: 2 of 2 training sounds listened to are silent")
