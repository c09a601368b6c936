"""What the encoders of vectors and sequences compute, by hand or by another implementation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmx.encoders import Encoder
from mmx.encoders.positions import make_positions
from mmx.encoders.sequence.gru import Gru
from mmx.encoders.sequence.lstm import Lstm
from mmx.encoders.sequence.tcn import Tcn
from mmx.encoders.sequence.transformer import Transformer
from mmx.encoders.vector.linear import Linear
from mmx.encoders.vector.mlp import Mlp
from mmx.modalities.sequence import SequenceSpec
from mmx.modalities.vector import VectorSpec

SPEC = SequenceSpec((0.0,) * 3, (1.0,) * 3, longest=6)
LENGTHS = torch.tensor([5, 2, 1])


@pytest.mark.parametrize("kind", [Gru, Lstm])
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_encoders_are_packed_bidirectional_networks(
    kind: type[Gru] | type[Lstm], layers: int
) -> None:
    torch.manual_seed(0)
    encoder = kind(SPEC, width=8, layers=layers, dropout=0.0)
    name, library = ("gru", nn.GRU) if kind is Gru else ("lstm", nn.LSTM)
    ours = encoder.get_submodule(name)
    theirs = library(3, 4, layers, batch_first=True, bidirectional=True)
    for layer in range(layers):
        for parts, end in ((ours.forwards, ""), (ours.backwards, "_reverse")):
            for each, parameter in parts[layer].named_parameters():
                getattr(theirs, each.replace("_l0", f"_l{layer}{end}")).data = parameter.data
    x = torch.randn(3, 6, 3)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    want, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=6)
    features = encoder(x, LENGTHS)
    torch.testing.assert_close(features.tokens[features.mask], want[features.mask])
    means = torch.stack([row[:n].mean(0) for row, n in zip(want, LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(features.pooled, means)


def test_a_gru_is_computed_in_float32_under_autocast() -> None:
    encoder = Gru(SPEC, width=8).eval()
    x = torch.randn(2, 6, 3)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(x)
    assert torch.equal(half.tokens, encoder(x).tokens)


@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (3, 3), (2, 5)])
def test_a_token_of_the_tcn_sees_the_stated_steps(layers: int, kernel: int) -> None:
    torch.manual_seed(0)
    encoder = Tcn(SPEC, width=8, layers=layers, kernel=kernel).eval()
    x = torch.randn(1, 81, 3, requires_grad=True)
    encoder(x).tokens[0, 40].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(1).nonzero()[:, 0]
    reach = 2 * (2**layers - 1) * (kernel - 1) // 2
    assert seen.tolist() == list(range(40 - reach, 40 + reach + 1))


def test_the_transformer_is_torchs_on_each_row_alone() -> None:
    torch.manual_seed(0)
    encoder = Transformer(SPEC, width=8, heads=2, mlp_width=16).eval()
    x = torch.randn(3, 6, 3)
    features = encoder(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        want = encoder.embed(x[row : row + 1, :length]) + make_positions(length, 8, x.device)
        for layer in encoder.layers:
            want = layer(want)
        torch.testing.assert_close(features.tokens[row, :length], encoder.norm(want)[0])


def test_positions_by_hand() -> None:
    found = make_positions(3, 4, torch.device("cpu"))
    steps = torch.arange(3.0)
    want = [steps.sin(), (steps / 100).sin(), steps.cos(), (steps / 100).cos()]
    torch.testing.assert_close(found, torch.stack(want, dim=1))


@pytest.mark.parametrize("kind", [Gru, Tcn, Transformer])
def test_the_order_of_steps_counts(kind: type[Encoder]) -> None:
    torch.manual_seed(0)
    encoder = kind(SPEC, width=8).eval()
    x = torch.randn(1, 6, 3)
    assert not torch.allclose(encoder(x).pooled, encoder(x.flip(1)).pooled, atol=1e-3)


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"`width` \(=7\)"):
        Gru(SPEC, width=7)
    with pytest.raises(ValueError, match=r"`kernel` \(=4\)"):
        Tcn(SPEC, kernel=4)
    with pytest.raises(ValueError, match=r"`width` \(=10\).*`heads` \(=4\)"):
        Transformer(SPEC, width=10)


def test_encoders_of_vectors() -> None:
    spec = VectorSpec((0.0,) * 3, (1.0,) * 3, flags=True)
    x = torch.randn(2, 6)
    linear = Linear(spec, width=4)
    torch.testing.assert_close(linear(x).pooled, x @ linear.linear.weight.T + linear.linear.bias)
    mlp = Mlp(spec, width=4, hidden=5).eval()
    assert [level.shape for level in mlp(x).levels] == [(2, 5), (2, 4)]
    assert torch.equal(mlp(x).pooled, mlp(x).levels[-1])
