"""The parts that audio and text encoders are made of, each against another implementation."""

from __future__ import annotations

import pytest
import torch
import torchaudio
from refusals import check_error
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmx.encoders import bilstm
from mmx.encoders.audio.frontend import LogMel
from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.audio.logmel_lstm import LogmelLstm
from mmx.encoders.base import Encoder
from mmx.encoders.bilstm import BiLstm, computes_lstm_in
from mmx.encoders.masked_norm import MaskedBatchNorm, zero_invalid
from mmx.encoders.padding import masked_max, step_mask
from mmx.encoders.text.embedding_mean import EmbeddingMean
from mmx.encoders.text.lstm import Lstm
from mmx.encoders.text.text_cnn import TextCnn
from mmx.modalities.audio import AudioSpec
from mmx.modalities.masking import masked_mean
from mmx.modalities.text import TokenSpec

LENGTHS = torch.tensor([5, 2, 1])
TOKENS = TokenSpec(words=("a", "b", "c"), max_tokens=6)


def test_masks_and_pools_by_hand() -> None:
    x = torch.tensor([[[1.0], [-3.0]], [[-2.0], [9.0]], [[-4.0], [9.0]]])
    mask = step_mask(torch.tensor([2, 1, 0]), x)
    assert mask.tolist() == [[True, True], [True, False], [True, False]]
    assert masked_mean(x, mask).tolist() == [[-1.0], [-2.0], [-4.0]]
    assert masked_max(x, mask).tolist() == [[1.0], [-2.0], [-4.0]]


@pytest.mark.parametrize("layers", [1, 2])
def test_bilstm_is_a_packed_bidirectional_lstm(layers: int) -> None:
    torch.manual_seed(0)
    ours = BiLstm(3, width=8, layers=layers, dropout=0.0)
    theirs = nn.LSTM(3, 4, layers, batch_first=True, bidirectional=True)
    for layer in range(layers):
        for name, parameter in ours.forwards[layer].named_parameters():
            getattr(theirs, name.replace("_l0", f"_l{layer}")).data = parameter.data
        for name, parameter in ours.backwards[layer].named_parameters():
            getattr(theirs, name.replace("_l0", f"_l{layer}_reverse")).data = parameter.data
    x = torch.randn(3, 6, 3)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    want, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=6)
    mask = step_mask(LENGTHS, x)
    torch.testing.assert_close(ours(x, mask)[mask], want[mask])


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_an_lstm_is_computed_in_float32_where_half_of_it_would_go_wrong(
    half: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN refuses float16; autocast on CUDA takes float16 where it was asked for bfloat16."""
    assert not computes_lstm_in("cpu", torch.float16)
    assert [computes_lstm_in("cuda", dtype) for dtype in (torch.float16, torch.bfloat16)] == [1, 0]
    if half == torch.bfloat16:
        monkeypatch.setattr(bilstm, "computes_lstm_in", lambda device, dtype: False)
    torch.manual_seed(0)
    ours = BiLstm(3, width=8, layers=2, dropout=0.0)
    x = torch.randn(3, 6, 3).to(half)
    mask = step_mask(LENGTHS, x)
    with torch.autocast("cpu", dtype=half):
        found = ours(x, mask)
    assert torch.equal(found, ours(x.float(), mask))
    found.sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_an_lstm_in_bfloat16_stays_in_bfloat16_where_the_cpu_computes_it() -> None:
    state = torch.get_rng_state()
    half = torch.bfloat16 if computes_lstm_in("cpu", torch.bfloat16) else torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    ours = BiLstm(3, width=8, layers=1, dropout=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(torch.randn(2, 4, 3), torch.ones(2, 4) > 0).dtype == half


def test_masked_norm_is_batch_norm_of_the_valid_frames() -> None:
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(4), nn.BatchNorm2d(4)
    x = torch.randn(3, 4, 5, 2) * 3 + 1
    mask = step_mask(LENGTHS, x.transpose(1, 2))
    valid = x.transpose(1, 2)[mask]  # (frames, C, F)
    want = theirs(valid.transpose(1, 2)[..., None].transpose(1, 2))[..., 0]
    torch.testing.assert_close(ours(x, mask).transpose(1, 2)[mask], want)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x, mask), theirs.eval()(x))


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("full", [False, True], ids=["padded", "full"])
def test_masked_norm_has_the_bits_of_the_operators_of_its_formula(full, layout, half) -> None:
    mask = torch.ones(3, 7) > 0 if full else step_mask(torch.tensor([7, 3, 5]), torch.zeros(3, 7))
    found = []
    for fused in (True, False):
        torch.manual_seed(0)
        norm = MaskedBatchNorm(8)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        x = torch.randn(3, 8, 7, 4).to(torch.bfloat16 if half else torch.float32)
        x = x.to(memory_format=layout).requires_grad_()
        valid = mask[:, None, :, None].float()
        y = norm(x, mask) if fused else norm._compose(x, valid, mask.sum() * 4)
        torch.manual_seed(1)
        y.backward(torch.randn_like(y))
        parameters = (norm.weight.grad, norm.bias.grad)
        found.append([y, x.grad, *parameters, norm.running_mean, norm.running_var])
    assert [each.dtype for each in found[0]] == [each.dtype for each in found[1]]
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize("lengths", [[16, 16], [16, 9]], ids=["full", "padded"])
def test_zeros_in_the_padding_are_those_of_a_product(lengths) -> None:
    x = torch.randn(2, 3, 16, 4)
    valid = step_mask(torch.tensor(lengths), x[:, 0])
    torch.testing.assert_close(zero_invalid(x, valid), x * valid[:, None, :, None])


def test_log_mel_is_torchaudios() -> None:
    spec = AudioSpec(sample_rate=16000, max_samples=16000)
    frontend = LogMel(spec, mels=40, window_ms=32.0, hop_ms=10.0)
    x = torch.randn(2, 4000) * 0.1
    reference = torchaudio.transforms.MelSpectrogram(
        16000, n_fft=512, hop_length=160, n_mels=40, pad_mode="constant"
    )
    want = reference(x).clamp(min=1e-5).log().transpose(1, 2)
    want = torch.stack([(row - row.mean()) / row.std(correction=0) for row in want])
    frames, mask = frontend(x)
    torch.testing.assert_close(frames, want, rtol=0, atol=1e-4)
    assert mask.all()


def test_log_mel_does_not_hear_how_loud_a_sound_is() -> None:
    frontend = LogMel(AudioSpec(8000, 8000), mels=40, window_ms=32.0, hop_ms=10.0)
    x = torch.randn(1, 800)
    torch.testing.assert_close(frontend(0.25 * x)[0], frontend(x)[0], rtol=0, atol=1e-4)
    silence, _ = frontend(torch.zeros(1, 800))
    assert (silence == 0).all()


def test_log_mel_frames_of_a_length() -> None:
    frontend = LogMel(AudioSpec(8000, 8000), mels=40, window_ms=32.0, hop_ms=10.0)
    frames, mask = frontend(torch.randn(3, 800), torch.tensor([800, 79, 160]))
    assert mask.sum(1).tolist() == [11, 1, 3]  # 1 + S // 80
    assert (frames[~mask] == 0).all()


@pytest.mark.parametrize("rate", [4000, 8000, 22050, 48000])
@pytest.mark.parametrize("mels", [8, 64, 128, 256])
def test_no_mel_band_is_empty(rate: int, mels: int) -> None:
    frontend = LogMel(AudioSpec(rate, rate), mels=mels, window_ms=32.0, hop_ms=10.0)
    assert (frontend.get_buffer("bank").sum(0) > 0).all()


def test_frontend_ignores_half_precision() -> None:
    frontend = LogMel(AudioSpec(8000, 8000), mels=40, window_ms=32.0, hop_ms=10.0)
    x = torch.randn(1, 800)
    with torch.autocast("cpu", torch.bfloat16):
        frames, _ = frontend(x)
    assert torch.equal(frames, frontend(x)[0])


def test_audio_constants_stay_out_of_the_state() -> None:
    states = [LogmelLstm(AudioSpec(rate, rate)).state_dict() for rate in (8000, 44100)]
    assert {k: v.shape for k, v in states[0].items()} == {k: v.shape for k, v in states[1].items()}


def test_widths_that_cannot_be_shared_out() -> None:
    with pytest.raises(ValueError, match="`width`") as error:
        LogmelCnn(AudioSpec(8000, 8000), width=60)
    check_error(error.value, "width", "60", "of 8")
    with pytest.raises(ValueError, match="`width`") as error:
        Lstm(TOKENS, width=7)
    check_error(error.value, "width", "7")
    with pytest.raises(ValueError, match="`width`") as error:
        TextCnn(TOKENS, width=2)
    check_error(error.value, "width", "2", "3")


def test_embedding_mean_by_hand() -> None:
    model = EmbeddingMean(TOKENS, width=1).eval()
    model.words.embedding.weight.data = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    ids = torch.tensor([[2, 4, 1], [3, 0, 0], [0, 0, 0]])
    features = model(ids, torch.tensor([3, 1, 0]))
    torch.testing.assert_close(features.pooled, torch.tensor([[7 / 3], [3.0], [0.0]]))


@pytest.mark.parametrize("kind", [EmbeddingMean, Lstm, TextCnn])
def test_an_encoder_says_whether_it_ignores_the_order_of_words(kind: type[Encoder]) -> None:
    encoder = kind(TOKENS).eval()  # type: ignore[call-arg]
    one, other = encoder(torch.tensor([[2, 3, 4, 4], [4, 3, 2, 4]]), torch.tensor([4, 4])).pooled
    assert torch.allclose(one, other, rtol=0, atol=1e-6) == kind.ignores_order


def test_text_cnn_by_hand() -> None:
    model = TextCnn(TOKENS, width=1, kernel_sizes=[2], embedding=1).eval()
    model.words.embedding.weight.data = torch.tensor([[0.0], [1.0], [2.0], [3.0], [-4.0]])
    model.convolutions[0].weight.data = torch.tensor([[[1.0, 10.0]]])
    nn.init.zeros_(model.convolutions[0].bias)
    features = model(torch.tensor([[2, 3, 4]]), torch.tensor([3]))
    # pairs (2, 3), (3, -4) and (-4, nothing)
    assert features.tokens.flatten().tolist() == [32.0, 0.0, 0.0]
    assert features.pooled.tolist() == [[32.0]]


def test_text_cnn_shares_filters_out() -> None:
    model = TextCnn(TOKENS)
    assert [c.out_channels for c in model.convolutions] == [43, 43, 42]


def test_words_of_padding_never_learn() -> None:
    model = EmbeddingMean(TOKENS, width=4)
    model(
        torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    ).pooled.sum().backward()
    assert not model.words.embedding.weight.grad.any()
