from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import Refusal, check_error, check_notes, check_refusals
from torch import Tensor, nn

from mmx.encoders import Encoder
from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.audio.logmel_lstm import LogmelLstm
from mmx.encoders.audio.spectrogram_cnn import SpectrogramCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.grid_cnn import GridCnn
from mmx.encoders.text.lstm import Lstm
from mmx.errors import Problem, TransferError
from mmx.fusion.concat import Concat
from mmx.fusion.gmu import Gmu
from mmx.modalities import Spec
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.modalities.text import TokenSpec
from mmx.model import MultimodalModel
from mmx.transfer import Source
from mmx.transfer.copying import Copied, copy_fitting
from mmx.transfer.cross_modal import ALIKE, find_origins, find_unlike_encoders

SPECS: dict[str, Spec] = {
    "audio": AudioSpec(sample_rate=8000, max_samples=800),
    "image": ImageSpec(8, 8),
    "tabular": TabularSpec(("a",), (0.0,), (1.0,), (), ()),
    "text": TokenSpec(words=("x", "y"), max_tokens=4),
}
ENCODERS: dict[str, Any] = {
    "audio": partial(SpectrogramCnn, width=8, depth=2, mels=8),
    "image": partial(SmallCnn, width=8, depth=2),
    "tabular": partial(Mlp, width=8, hidden=8),
    "text": partial(Lstm, width=8, embedding=6),
}
DIGITS = ("0", "1", "2")


def make(
    seed: int,
    *modalities: str,
    fusion: Any = Concat,
    specs: dict[str, Spec] = SPECS,
    **encoders: Any,
) -> MultimodalModel:
    torch.manual_seed(seed)
    made = MultimodalModel(
        {name: specs[name] for name in modalities}, {**ENCODERS, **encoders}, fusion, len(DIGITS)
    )
    for buffer in made.buffers():  # statistics that differ between any two models
        buffer.add_(seed)
    return made


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def transferred(source: nn.Module, target: nn.Module, **options: Any) -> Copied:
    return copy_fitting(Source(source.state_dict(), DIGITS), target, DIGITS, {}, **options)


def assert_accounted(done: Copied, model: nn.Module, before: dict[str, Tensor]) -> None:
    assert Counter([*done.copied, *done.adapted, *done.fresh]) == Counter(list(before))
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in done.fresh)


def test_an_audio_encoder_starts_from_an_image_encoder() -> None:
    source, target = make(1, "image"), make(2, "audio")
    before, theirs = state(target), source.state_dict()
    done = transferred(source, target, modality_map={"audio": "image"}, min_copied=1.0)
    assert_accounted(done, target, before)
    first = "encoders.audio.stages.0.0.weight"
    assert done.adapted == (first,)
    assert done.fresh == ()
    check_notes(done.notes, (first, "3 input"), ("audio", "encoder", "image"))
    assert done.classes == {name: name for name in DIGITS}  # the head is carried over too
    for name, tensor in target.state_dict().items():
        origin = theirs[name.replace("audio", "image")]
        want = origin.sum(1, keepdim=True) if name == first else origin
        assert torch.equal(tensor, want), name


def test_an_image_encoder_starts_from_an_audio_encoder() -> None:
    source, target = make(1, "audio"), make(2, "image")
    done = transferred(source, target, modality_map={"image": "audio"})
    name = "encoders.image.stages.0.0.weight"
    assert done.adapted == (name,)
    given = source.state_dict()[name.replace("image", "audio")]
    torch.testing.assert_close(target.state_dict()[name], given.expand(-1, 3, -1, -1) / 3)


@pytest.mark.parametrize("training", [True, False])
def test_a_spectrogram_is_seen_as_a_grey_image(training: bool) -> None:
    """Why one sums: the adapted encoder says of one channel what the other says of three."""
    source, target = make(1, "image"), make(2, "audio")
    transferred(source, target, modality_map={"audio": "image"})
    image, sound = source.encoders["image"].stages, target.encoders["audio"].stages
    source.train(training)
    target.train(training)
    grey = torch.randn(4, 1, 12, 8)
    three, one = grey.expand(-1, 3, -1, -1), grey
    for theirs, ours in zip(image, sound, strict=True):
        three, one = theirs(three), ours(one)
        torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sound.state_dict()["0.2.running_var"], image[0][2].running_var)


def test_text_starts_from_audio_but_for_its_words_and_inputs() -> None:
    lstm = partial(LogmelLstm, width=8, mels=8)
    source, target = make(1, "audio", audio=lstm), make(2, "text")
    before = state(target)
    done = transferred(source, target, modality_map={"text": "audio"}, min_copied=0.5)
    assert_accounted(done, target, before)
    assert [name for name in done.fresh if name.startswith("encoders.")] == [
        "encoders.text.words.embedding.weight",
        "encoders.text.lstm.forwards.0.weight_ih_l0",
        "encoders.text.lstm.backwards.0.weight_ih_l0",
    ]
    assert done.adapted == ()
    check_notes(
        done.notes,
        ("text", "encoder", "audio"),
        ("encoders.text.words.embedding.weight", "encoders.audio.words.embedding.weight", "source"),
        ("encoders.text.lstm.forwards.0.weight_ih_l0", "16×6 here", "16×8 in the source", "source"),
        (
            "encoders.text.lstm.backwards.0.weight_ih_l0",
            "16×6 here",
            "16×8 in the source",
            "source",
        ),
    )
    mine, theirs = target.encoders["text"].lstm, source.encoders["audio"].lstm
    assert torch.equal(mine.backwards[0].weight_hh_l0, theirs.backwards[0].weight_hh_l0)


def test_text_starts_from_images_but_for_its_words() -> None:
    source = make(1, "image")
    target = make(2, "text", text=partial(GridCnn, width=8, depth=2, patch=2))
    before, theirs = state(target), source.state_dict()
    done = transferred(source, target, modality_map={"text": "image"})
    assert_accounted(done, target, before)
    assert done.fresh == ("encoders.text.words.embedding.weight",)
    assert done.adapted == ()
    for name in done.copied:
        assert torch.equal(target.state_dict()[name], theirs[name.replace("text", "image")]), name


def test_positions_of_larger_images_are_interpolated() -> None:
    vit = partial(VitB16, layers=1, heads=2, width=8, mlp_width=8)
    source = make(1, "image", image=vit)
    target = make(2, "image", image=vit, specs={"image": ImageSpec(12, 12)})
    done = transferred(source, target, min_copied=1.0)
    name = "encoders.image.net.encoder.pos_embedding"
    assert done.adapted == (name,)
    assert done.fresh == ()
    check_notes(done.notes, (name, "2×2", "3×3", "positions", "class"))
    assert torch.equal(target.state_dict()[name][:, 0], source.state_dict()[name][:, 0])


def test_both_encoders_may_start_from_one() -> None:
    source, target = make(1, "image"), make(2, "audio", "image")
    before, theirs = state(target), source.state_dict()
    done = transferred(source, target, modality_map={"audio": "image"})
    assert_accounted(done, target, before)
    assert not [name for name in done.fresh if name.startswith("encoders.")]
    for name in ("audio", "image"):
        last = f"encoders.{name}.stages.1.0.weight"
        assert torch.equal(target.state_dict()[last], theirs["encoders.image.stages.1.0.weight"])


def test_the_map_goes_before_the_modality_of_the_same_name() -> None:
    source, target = make(1, "audio", "image"), make(2, "audio")
    done = transferred(source, target, modality_map={"audio": "image"})
    assert done.adapted == ("encoders.audio.stages.0.0.weight",)
    check_notes([done.notes[-2]], ("audio", "encoder"))


@pytest.mark.parametrize("modality_map", [{}, {"audio": "image"}])
def test_fusion_follows_the_mapped_modality(modality_map: dict[str, str]) -> None:
    fusion = partial(Gmu, width=8)
    source = make(1, "image", "text", fusion=fusion)
    target = make(2, "audio", "text", fusion=fusion)
    before = state(target)
    done = transferred(source, target, modality_map=modality_map)
    assert_accounted(done, target, before)
    behind = [name for name in done.fresh if not name.startswith("encoders.")]
    if modality_map:
        assert behind == []
        theirs = source.state_dict()
        for name in done.copied:
            assert torch.equal(target.state_dict()[name], theirs[name.replace("audio", "image")])
    else:
        # Of equal shape, yet the weights would read sound where they have read images.
        rest = [name for name in before if not name.startswith("encoders.")]
        assert behind == [name for name in rest if ".text." not in name]
        check_notes(done.notes, ("image", "encoder"), ("fusion", "head", "fresh"))


def test_a_head_over_other_columns_stays_fresh() -> None:
    source, target = make(1, "image", "tabular"), make(2, "tabular", "text")
    done = transferred(source, target)
    assert {"head.weight", "head.bias"} < set(done.fresh)


# min_copied

WIDER = partial(SmallCnn, width=16, depth=2)


def test_too_little_of_an_encoder_is_refused() -> None:
    source, target = make(1, "image", image=WIDER), make(2, "image")
    before = state(target)
    with pytest.raises(TransferError) as caught:
        transferred(source, target, min_copied=0.5)
    check_error(
        caught.value,
        "2",
        "12 tensors",
        "transfer.min_copied=0.5",
        "encoders.image.stages.0.0.weight",
        "4×3×3×3 here",
        "8×3×3×3 in the source",
        "encoders.image.stages.0.2.weight",
        "4",
        "8",
        "encoders.image.stages.0.2.bias",
        types=("transfer.min_copied=0.16",),
    )
    assert all(torch.equal(before[name], now) for name, now in target.state_dict().items())
    check_notes(
        transferred(source, target, min_copied=0.16).notes,
        ("encoders.image.stages.0.0.weight", "4×3×3×3 here", "8×3×3×3 in the source", "source"),
        ("encoders.image.stages.0.2.weight", "4 here", "8 in the source", "source"),
        ("encoders.image.stages.0.2.bias", "4 here", "8 in the source", "source"),
        ("7 more",),
        ("head.weight", "3×8 here", "3×16 in the source", "source"),
    )


def test_an_encoder_of_another_architecture_is_refused() -> None:
    source, target = make(1, "image"), make(2, "audio", audio=partial(LogmelCnn, width=8, mels=8))
    with pytest.raises(TransferError) as caught:
        transferred(source, target, modality_map={"audio": "image"}, min_copied=0.01)
    check_error(
        caught.value,
        "0",
        "20 tensors",
        "transfer.min_copied=0.01",
        "encoders.audio.convolutions.0.weight",
        "encoders.image.convolutions.0.weight",
        "encoders.audio.convolutions.1.weight",
        "encoders.image.convolutions.1.weight",
        "encoders.audio.convolutions.2.weight",
        "encoders.image.convolutions.2.weight",
        types=("encoder/image=small_cnn", "encoder/audio=spectrogram_cnn"),
    )
    with pytest.raises(TransferError, match=r"^no encoder tensor of the source fits"):
        transferred(source, target, modality_map={"audio": "image"}, min_copied=0.0)


def test_nothing_of_one_of_several_encoders_may_be_accepted() -> None:
    source, target = make(1, "image", "text"), make(2, "image", "text")
    renamed = {n.replace(".image.", ".image.old."): t for n, t in source.state_dict().items()}
    with pytest.raises(TransferError, match=r"accept it with transfer\.min_copied=0$"):
        copy_fitting(Source(renamed, ()), target, (), {}, min_copied=0.5)
    done = copy_fitting(Source(renamed, ()), target, (), {}, min_copied=0.0)
    assert {name.split(".")[1] for name in done.copied if name.startswith("encoders.")} == {"text"}


def test_the_part_that_is_asked_for_is_enough() -> None:
    lstm = partial(LogmelLstm, width=8, mels=8)
    source, target = make(1, "audio", audio=lstm), make(2, "text")
    transferred(source, target, modality_map={"text": "audio"}, min_copied=6 / 9)
    with pytest.raises(TransferError, match=r"^6 of the 9 tensors of the text encoder"):
        transferred(source, target, modality_map={"text": "audio"}, min_copied=6 / 9 + 1e-6)


def test_an_encoder_that_the_source_has_not_is_not_counted() -> None:
    source, target = make(1, "image"), make(2, "image", "tabular")
    done = transferred(source, target, min_copied=1.0)
    assert {name for name in done.fresh if "tabular" in name}


def test_tensors_that_have_no_place_are_said() -> None:
    source, target = make(1, "text", text=partial(ENCODERS["text"], layers=2)), make(2, "text")
    done = transferred(source, target)
    assert done.fresh == ()
    check_notes(
        done.notes,
        ("encoders.text.lstm.backwards.1.bias_hh_l0", "source"),
        ("encoders.text.lstm.backwards.1.bias_ih_l0", "source"),
        ("encoders.text.lstm.backwards.1.weight_hh_l0", "source"),
        ("5 more",),
    )


# transfer.map


@pytest.mark.parametrize(
    ("modality_map", "message"),
    [
        (
            {"sound": "image"},
            "transfer.map={sound: image}: the target has no sound\n  tip: the target has audio",
        ),
        (
            {"audio": "images"},
            "transfer.map={audio: images}: the source has no images\n"
            "  tip: the source has image, text",
        ),
    ],
)
def test_a_map_must_name_what_exists(modality_map: dict[str, str], message: str) -> None:
    with pytest.raises(TransferError) as caught:
        find_origins(["image", "text"], ["audio"], modality_map)
    assert str(caught.value) == message


def test_encoders_without_a_common_name_are_told_early() -> None:
    def problems(**target: list[str]) -> list[Problem]:
        source = {"image": ["stages.0.weight"], "tabular": ["layers.0.weight"]}
        return list(find_unlike_encoders(source, target, {"audio": "image", "text": "image"}))

    assert problems(audio=["stages.0.weight", "x"]) == problems() == []
    assert list(find_unlike_encoders({}, {"audio": ["x"]}, {"audio": "image"})) == []
    audio, text = problems(audio=["convolutions.0.weight"], text=["words"])
    check_refusals(
        [audio],
        [
            Refusal(
                "transfer.map={audio: image}",
                ("image", "audio", "encoder"),
                accepted="encoders of one architecture",
                type_this="encoder/image=small_cnn encoder/audio=spectrogram_cnn",
            )
        ],
    )
    check_refusals(
        [text],
        [
            Refusal(
                "transfer.map={text: image}",
                ("image", "text", "encoder"),
                accepted="encoders of one architecture",
                type_this="encoder/image=small_cnn encoder/text=grid_cnn",
            )
        ],
    )


def test_origins() -> None:
    assert find_origins(["image", "text"], ["audio", "text"], {}) == {"text": "text"}
    assert find_origins(["image", "text"], ["audio", "text"], {"audio": "text"}) == {
        "audio": "text",
        "text": "text",
    }
    assert find_origins(["a", "b"], ["a", "b"], {"a": "b", "b": "a"}) == {"a": "b", "b": "a"}


def test_encoders_that_are_said_to_be_alike_are() -> None:
    by_name = {"small_cnn": SmallCnn, "spectrogram_cnn": SpectrogramCnn}
    by_name |= {"logmel_lstm": LogmelLstm, "lstm": Lstm, "grid_cnn": GridCnn}
    for pair, text in ALIKE.items():
        names: list[set[str]] = []
        for chosen in text.split():
            modality, variant = chosen.removeprefix("encoder/").split("=")
            assert modality in pair
            encoder: Encoder = by_name[variant](SPECS[modality])
            names.append(set(encoder.state_dict()))
        assert 2 * len(names[0] & names[1]) > max(map(len, names))


# whatever the tensors are


class Part(nn.Module):
    """Holds tensors of any names and shapes."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], follow: dict[str, str]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.randn(shape))
        self.follow = follow

    def input_tensors(self) -> dict[str, str]:
        return self.follow


class Whole(nn.Module):
    """Encoders, a fusion and a head."""

    def __init__(self, encoders: dict[str, Part], fusion: Part, head: Part) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion, self.head = fusion, head
        self.label_tensors = tuple(f"head.{name}" for name in head.state_dict())


SHAPE = st.sampled_from([(2,), (3,), (2, 2), (2, 3, 1), (2, 1, 1), (1, 5, 2), (1, 10, 2)])
SHAPES = st.dictionaries(st.sampled_from("wxyz"), SHAPE, max_size=4)
PARTS = st.dictionaries(st.sampled_from(["audio", "image", "text"]), SHAPES, min_size=1)
FOLLOW = st.dictionaries(
    st.sampled_from("wxyz"), st.sampled_from(["channels", "grid", "sequence"]), max_size=4
)


@settings(max_examples=150, deadline=None)
@given(PARTS, PARTS, SHAPES, SHAPES, FOLLOW, st.randoms())
def test_every_tensor_is_accounted_for(
    ours: dict[str, dict[str, tuple[int, ...]]],
    theirs: dict[str, dict[str, tuple[int, ...]]],
    fusion: dict[str, tuple[int, ...]],
    other: dict[str, tuple[int, ...]],
    follow: dict[str, str],
    draw: random.Random,
) -> None:
    head, classes = {"weight": (3, 2)}, draw.sample(DIGITS, 3)
    target = Whole({k: Part(v, follow) for k, v in ours.items()}, Part(fusion, {}), Part(head, {}))
    source = Whole({k: Part(v, {}) for k, v in theirs.items()}, Part(other, {}), Part(head, {}))
    given = Source(source.state_dict(), DIGITS)
    mapped = {
        new: draw.choice(sorted(full))
        for new in ours
        if (full := [k for k, v in theirs.items() if v]) and ours[new] and draw.random() < 0.5
    }
    before = state(target)
    try:
        done = copy_fitting(given, target, tuple(classes), {}, modality_map=mapped)
    except TransferError:  # nothing fits: then nothing is written
        done = Copied((), (), tuple(before), ())
    assert_accounted(done, target, before)
    after = target.state_dict()
    for name in before:
        part, _, tail = name.removeprefix("encoders.").partition(".")
        origin = f"encoders.{mapped.get(part, part)}.{tail}" if "encoders." in name else name
        fits = origin in given.state and given.state[origin].shape == before[name].shape
        if name in done.copied:
            assert torch.equal(after[name], given.state[origin])
        elif name in done.adapted:
            assert name == "head.weight" or (tail in follow and origin in given.state)
            assert after[name].shape == before[name].shape
        elif name.startswith("encoders."):
            assert not fits
    if "head.weight" in done.adapted:
        for row, label in enumerate(classes):
            assert torch.equal(after["head.weight"][row], given.state["head.weight"][int(label)])
