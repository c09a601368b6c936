from __future__ import annotations

import torch
from torch import nn

from mmx.training.memory_format import use_channels_last


def test_only_two_dimensional_convolutions_are_laid_out_channels_last() -> None:
    model = nn.ModuleList([nn.Conv1d(2, 4, 3), nn.Conv2d(2, 4, 3), nn.Conv3d(2, 4, 3)])
    before = [layer.weight.clone() for layer in model]
    use_channels_last(model)
    assert model[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model[1].weight.is_contiguous()
    assert model[0].weight.is_contiguous()
    assert model[2].weight.is_contiguous()
    assert all(torch.equal(layer.weight, old) for layer, old in zip(model, before, strict=True))


def test_it_is_torchs_own_layout_where_there_are_no_others() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    theirs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    theirs.load_state_dict(ours.state_dict())
    theirs.to(memory_format=torch.channels_last)
    use_channels_last(ours)
    assert ours[0].weight.stride() == theirs[0].weight.stride()
