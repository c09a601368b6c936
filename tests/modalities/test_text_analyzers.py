"""Characters and n-grams of texts in any script, and notes on texts that hold nothing known."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from refusals import check_notes
from sklearn.feature_extraction.text import TfidfVectorizer

from mmx.modalities import spec_from_json, spec_to_json
from mmx.modalities.text import TextColumn, TfidfSpec, TfidfVectors, Tokens
from mmx.modalities.tokenizers import (
    make_ngrams,
    make_tokenizer,
    make_word_ngrams,
    split_characters,
)

CODE = ["def f(x): return x", "for i in  range(3):\n\tf(i)", "x += 1", "", "a"]


@pytest.mark.parametrize("analyzer", ["char", "char_wb"])
@pytest.mark.parametrize("ngrams", [1, (1, 3), (2, 4), (5, 9)])
def test_characters_of_letters_without_marks_are_those_of_scikit_learn(analyzer, ngrams):
    text = TfidfVectors(analyzer=analyzer, ngrams=ngrams)
    column = TextColumn([*CODE, "Größe für Straße", "Ελληνικά"])
    spec = text.fit(column, range(4))
    spec = spec_from_json(json.loads(json.dumps(spec_to_json(spec))))
    assert isinstance(spec, TfidfSpec)
    both = (1, ngrams) if isinstance(ngrams, int) else ngrams
    reference = TfidfVectorizer(analyzer=analyzer, ngram_range=both, sublinear_tf=True)
    reference.fit(CODE[:4])
    assert spec.terms == tuple(reference.get_feature_names_out())
    found = text.prepare(text.encode(column, range(7), spec), spec)
    expected = reference.transform(column.read(range(7))).toarray().astype(np.float32)
    assert (found.numpy() == expected).all()


@pytest.mark.parametrize("ngrams", [(2, 2), (2, 3)])
def test_n_grams_of_words_may_leave_single_words_out(ngrams):
    texts = ["the red shoe", "the blue shoe", "red"]
    spec = TfidfVectors(ngrams=ngrams).fit(TextColumn(texts), range(3))
    reference = TfidfVectorizer(ngram_range=ngrams, sublinear_tf=True).fit(texts)
    assert spec.terms == tuple(reference.get_feature_names_out())


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("C++ C#", ["c", "+", "+", " ", "c", "#"]),
        ("很好 看", ["很", "好", " ", "看"]),
        ("面白い", ["面", "白", "い"]),
        ("か\u3099き", ["が", "き"]),
        ("ไม่ดี", ["ไ", "ม่", "ดี"]),
        ("हिन्दी", ["हि", "न्", "दी"]),
        ("شُكْراً", ["شُ", "كْ", "ر", "اً"]),
        ("שָׁלוֹם", ["שָׁ", "ל", "וֹ", "ם"]),
        ("좋다!", ["좋", "다", "!"]),
        ("e\u0301te\u0301", ["é", "t", "é"]),
        ("👩‍👩‍👧a🏳️‍🌈", ["👩‍👩‍👧", "a", "🏳‍🌈"]),
        ("🇩🇪🇫🇷👍🏽", ["🇩🇪", "🇫🇷", "👍🏽"]),
        ("x\t\n y", ["x", " ", "y"]),
        ("ＡＢ", ["a", "b"]),
    ],
)
def test_a_character_keeps_its_marks_in_every_script(text, characters):
    assert [*map(normal, split_characters(text))] == [*map(normal, characters)]
    assert make_tokenizer("char")(text) == split_characters(text)
    doubles = ["".join(pair) for pair in pairwise(split_characters(text))]
    assert make_ngrams(split_characters(text), 2, 2) == doubles


def normal(text: str) -> str:
    """Return a text whose marks are in one order, as NFC puts them."""
    return unicodedata.normalize("NFC", text)


def test_runs_within_words_keep_marks_too():
    found = make_word_ngrams(split_characters("ดี ไม่"), 2, 3)
    assert found == [" ดี", "ดี ", " ดี ", " ไ", "ไม่", "ม่ ", " ไม่", "ไม่ "]


@pytest.mark.parametrize("vectorizer", [Tokens(analyzer="char"), TfidfVectors(analyzer="char")])
def test_signs_tell_texts_apart_by_characters(vectorizer):
    column = TextColumn(["if a == b", "if a != b", "C++", "C#"])
    spec = vectorizer.fit(column, range(4))
    stored = vectorizer.prepare(vectorizer.encode(column, range(4), spec), spec)
    assert len({tuple(row) for row in stored.tolist()}) == 4
    assert vectorizer.remarks(column, range(4), spec) == ()


def test_characters_as_tokens_have_ids_and_lengths():
    text = Tokens(analyzer="char", max_tokens=5)
    column = TextColumn(["ab!", "a b", None, "มี!?"])
    spec = text.fit(column, [0, 1, 3])
    assert spec.words == ("!", "a", "b", " ", "?", "มี")
    stored = text.encode(column, range(4), spec)
    assert stored.values.tolist() == [[3, 4, 2, 0, 0], [3, 5, 4, 0, 0], [0] * 5, [7, 2, 6, 0, 0]]
    assert stored.lengths.tolist() == [3, 3, 0, 3]


def test_what_contradicts_is_refused():
    with pytest.raises(ValueError, match=r"`pairs` .*`analyzer` \(=char\)"):
        Tokens(pairs=True, analyzer="char")
    with pytest.raises(ValueError, match=r"`ngrams` \(=\(3, 2\)\)"):
        TfidfVectors(ngrams=(3, 2))


@pytest.mark.parametrize(
    "vectorizer",
    [Tokens(), TfidfVectors(), TfidfVectors(analyzer="char", ngrams=(3, 4)),
     TfidfVectors(ngrams=(2, 2))],
)  # fmt: skip
def test_validation_texts_without_any_known_token_are_counted(vectorizer):
    column = TextColumn(["red hat good", "red coat good", None, "ดีมากๆ", "red hat", "", None])
    spec = vectorizer.fit(column, [0, 1, 2])
    check_notes(
        vectorizer.remarks_on_other_rows(column, [3, 4, 5, 6], spec, "validation"),
        ("text", "2 of 3 validation texts", "vocabulary", "'ดีมากๆ'"),
    )
    assert vectorizer.remarks_on_other_rows(column, [4, 6], spec, "validation") == ()
    assert vectorizer.remarks(column, [0, 1, 2], spec) == ()


def test_training_texts_that_a_vocabulary_of_a_source_does_not_know_are_counted():
    spec = Tokens().fit(TextColumn(["red hat"]), [0])
    check_notes(
        Tokens().remarks(TextColumn(["grün", "blau", "red"]), range(3), spec),
        ("2 of 3 different training texts", "'grün'"),
    )


@pytest.mark.parametrize("broken", ["na\ufffdve", "naÃ¯ve cafÃ©", "itâ€™s"])
def test_characters_that_were_decoded_wrongly_are_remarked(broken):
    texts = ["naïve café", "it’s", "Ãland or Âlso", "Größe", broken]
    column = TextColumn(texts)
    for vectorizer in (Tokens(), TfidfVectors()):
        notes = vectorizer.remarks(column, range(5), vectorizer.fit(column, range(5)))
        check_notes(notes, ("1 of 5", "decoded wrongly", repr(broken)))
