import pytest
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities.text import TextColumn, TfidfVectors, Tokens, TokenSpec
from mmx.modalities.tokenizers import BAG_WORD, WORD, make_tokenizer

EVERY_SCRIPT = {
    "Hindi": ("यह मिला है", "यह मेला है", ["यह", "मिला", "है"]),
    "Tamil": ("படம் நல்லது", "படம் நல்லதல்ல", ["படம்", "நல்லது"]),
    "Sinhala": ("ශ්\u200dරී ලංකා", "ශ්\u200dරී ලක්", ["ශ්\u200dරී", "ලංකා"]),
    "Chinese": ("很好看", "不好看", ["很", "好", "看"]),
    "Japanese": ("面白い・", "面白くない", ["面", "白", "い"]),
    "Thai": ("หนังดี", "หนังไม่ดี", ["ห", "นั", "ง", "ดี"]),
    "Burmese": ("ကောင်း", "မကောင်း", ["ကော", "င်း"]),
    "Korean": ("안 좋다", "못 좋다", ["안", "좋다"]),
    "Arabic": ("شُكْراً جدا", "شَكَراً جدا", ["شُكْراً", "جدا"]),
    "Hebrew": ("שָׁלוֹם רב", "שלום רב", ["שָׁלוֹם", "רב"]),
    "Vietnamese": ("tiê\u0301ng Việt", "tiềng Việt", ["tiếng", "việt"]),
    "wide": ("ｇｏｏｄ １２", "ｂａｄ １２", ["good", "12"]),
    "mixed": ("iPhone手机2021年", "iPhone手機2021年", ["iphone", "手", "机", "2021", "年"]),
}


@pytest.mark.parametrize("script", EVERY_SCRIPT)
def test_tokens_of_every_script(script):
    text, other, expected = EVERY_SCRIPT[script]
    if script != "Hebrew":  # points are part of the word
        assert make_tokenizer("script")(text) == expected
    assert make_tokenizer("script")(text) != make_tokenizer("script")(other)
    assert make_tokenizer("script", bag=True)(text) != make_tokenizer("script", bag=True)(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so😀😡", ["so", "😀", "😡"]),
        ("👍🏽 👍", ["👍", "🏽", "👍"]),
        ("👩‍👩‍👧🏳️‍🌈", ["👩‍👩‍👧", "🏳‍🌈"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("❤️ ❤", ["❤", "❤"]),
        ("1️⃣ ☆★", ["1⃣", "☆", "★"]),
        ("🏽", ["🏽"]),
    ],
)
def test_emoji_are_tokens(text, expected):
    assert make_tokenizer("script")(text) == expected


def test_in_a_bag_an_emoji_has_its_name_too():
    assert make_tokenizer("script", bag=True)("a 😀") == ["😀", "grinning", "face"]


def test_pairs_follow_all_characters():
    assert make_tokenizer("script_pairs")("上海 ok 海上") == [
        "上", "海", "ok", "海", "上", "上海", "海上"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "The red Shoe, isn't it RED? a b 1 x2",
        "Männer für Straße №5 x² ½ ① café naïve l’été",
        "Он не я в доме; Ελληνικά ά",
        "שלום עולם ا ب سلام",
    ],
)
def test_letters_without_combining_marks_are_read_as_ever(text):
    assert (
        make_tokenizer("script")(text) == WORD.findall(text.lower()) == make_tokenizer("word")(text)
    )
    assert make_tokenizer("script", bag=True)(text) == BAG_WORD.findall(text.lower())


def test_a_vocabulary_of_an_older_run_is_read_as_it_was():
    spec = TokenSpec(("शब",), 4)
    stored = Tokens().encode(TextColumn(["शब्द"]), [0], spec)
    assert stored.values.tolist() == [[2, 1, 0, 0]]
    with pytest.raises(DataError, match="by the tokenizer 'other', which this mmx does not have"):
        make_tokenizer("other")


def test_texts_without_any_word_are_refused():
    with pytest.raises(DataError) as error:
        Tokens().fit(TextColumn([":)", ":(", None]), [0, 1, 2])
    check_error(error.value, "2 training", "training", types=("text",))


@pytest.mark.parametrize("text", [Tokens(), TfidfVectors()])
def test_texts_that_become_alike_are_remarked(text):
    column = TextColumn(["it is :)", "it is :(", "it is so", "IT is so"])
    spec = text.fit(column, range(4))
    notes = text.remarks(column, range(4), spec)
    check_notes(notes, ("1 of 4 different training texts", "'it is :)' and 'it is :('"))
    assert text.remarks(column, [0, 2], spec) == ()


def test_texts_that_are_cut_are_remarked():
    column, text = TextColumn(["天地人", "地"]), Tokens(max_tokens=2, pairs=True)
    check_notes(
        text.remarks(column, [0, 1], text.fit(column, [0, 1])),
        ("text", "1", "2 training", "max_tokens", "2"),
    )
