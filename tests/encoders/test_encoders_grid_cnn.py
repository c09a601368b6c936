"""Words as an image: laid out by hand, and read as the image encoder reads such an image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from refusals import check_error
from torch import Tensor

from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.text.grid_cnn import GridCnn
from mmx.modalities.image import ImageSpec
from mmx.modalities.text import TokenSpec

SPEC = TokenSpec(words=tuple(f"word{number}" for number in range(98)), max_tokens=64)


def draw_ids(rows: int, tokens: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(1, SPEC.vocabulary, (rows, tokens), generator=draw)


def lay_out(model: GridCnn, ids: list[int], side: int) -> Tensor:
    """Return a text as an image of ``side`` × ``side`` pixels, one patch after the other."""
    patch, columns = model.patch, model.columns
    image = torch.zeros(3, side, side)
    for place, word in enumerate(ids):
        row, column = divmod(place, columns)
        vector = model.words.embedding.weight[word].detach() * (3 * patch**2) ** 0.5
        down, right = row * patch, column * patch
        image[:, down : down + patch, right : right + patch] = vector.view(3, patch, patch)
    return image


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{}, {"depth": 2, "width": 8, "patch": 2, "columns": 4}])
def test_a_text_is_read_as_small_cnn_reads_its_image(
    options: dict[str, Any], training: bool
) -> None:
    torch.manual_seed(0)
    model = GridCnn(SPEC, dropout=0.0, **options).train(training)
    words, side = model.columns**2, model.columns * model.patch
    image_options = {name: options[name] for name in ("depth", "width") if name in options}
    other = SmallCnn(ImageSpec(side, side), **image_options).train(training)
    state = model.state_dict()
    del state["words.embedding.weight"]
    other.load_state_dict(state)  # strict: the tensors of both have the same names and shapes
    ids = draw_ids(3, words)
    pixels = torch.stack([lay_out(model, row, side) for row in ids.tolist()])
    want = other(pixels / 4 + 0.5)  # small_cnn scales by (x - 0.5) * 4
    features = model(ids)
    assert features.mask.all()
    torch.testing.assert_close(features.tokens, want.tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.pooled, want.pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.levels, want.levels, rtol=1e-4, atol=1e-5)
    after = other.state_dict()
    for name, tensor in model.stages.state_dict().items():
        torch.testing.assert_close(tensor, after[f"stages.{name}"], rtol=1e-4, atol=1e-5)


def test_a_short_text_takes_the_lines_that_it_needs() -> None:
    """By default a row of tokens is 8 pixels, 2 lines of 8 words."""
    torch.manual_seed(0)
    model = GridCnn(SPEC).eval()
    assert model.steps == 8
    ids, lengths = draw_ids(4, 40), torch.tensor([40, 16, 17, 0])
    ids = ids * (torch.arange(40) < lengths[:, None])
    features = model(ids, lengths)
    assert features.tokens.shape == (4, 3 * 4, 128)
    assert features.mask.sum(1).tolist() == [12, 4, 8, 4]
    for row, length in enumerate(lengths[:3].tolist()):
        alone = model(ids[row : row + 1, :length])
        valid = features.mask[row]
        torch.testing.assert_close(features.tokens[row, valid], alone.tokens[0])
        torch.testing.assert_close(features.pooled[row], alone.pooled[0])
        for level, other in zip(features.levels, alone.levels, strict=True):
            torch.testing.assert_close(level[row], other[0])


def test_pixels_deviate_as_those_of_images_do() -> None:
    torch.manual_seed(0)
    model = GridCnn(SPEC, patch=8)
    image, _ = model._draw(*model.words.eval()(draw_ids(8, 64)))
    assert image.shape == (8, 3, 64, 64)
    assert image.std().item() == pytest.approx(1.0, abs=0.05)


def test_depths_are_words_and_then_those_of_the_image_encoder() -> None:
    model, other = GridCnn(SPEC), SmallCnn(ImageSpec(32, 32))
    assert model.depths() == (("words.",), *other.depths())
    assert model.architecture == other.architecture


def test_width_must_halve() -> None:
    with pytest.raises(ValueError, match="`width`") as error:
        GridCnn(SPEC, width=20)
    check_error(error.value, "width", "20", "8", "depth", "4")
