import json

import numpy as np
import pytest
import torch
from refusals import check_error
from sklearn.feature_extraction.text import TfidfVectorizer

from mmx.errors import DataError
from mmx.modalities import spec_from_json, spec_to_json
from mmx.modalities.text import TextColumn, TfidfSpec, TfidfVectors, Tokens, TokenSpec

TEXTS = [
    "The red Shoe, the blue shoe",
    None,
    "Men's red shirt; isn't it RED?",
    "",
    "Blue shirt für Männer",
    "red red red red",
]
TRAIN = [0, 1, 2, 3, 4]


def test_vocabulary_is_by_frequency_then_alphabet():
    spec = Tokens().fit(TextColumn(TEXTS), [0, 2])
    assert spec.words == ("red", "shoe", "the", "blue", "isn't", "it", "men's", "shirt")
    assert spec.vocabulary == 10
    assert Tokens(max_words=2).fit(TextColumn(TEXTS), [0, 2]).words == ("red", "shoe")
    assert Tokens(min_count=3).fit(TextColumn(TEXTS), [0, 2]).words == ("red",)


@pytest.mark.parametrize("text", [Tokens(), TfidfVectors()])
def test_nothing_is_learned_from_other_rows(text):
    poisoned = [*TEXTS[:5], "poison poison arsenic"]
    assert text.fit(TextColumn(TEXTS), TRAIN) == text.fit(TextColumn(poisoned), TRAIN)


def test_tokens_are_ids_cut_and_padded():
    spec = TokenSpec(words=("red", "shoe"), max_tokens=3)
    stored = Tokens().encode(TextColumn(["Red hat", None, "", "shoe red shoe red"]), range(4), spec)
    assert stored.values.dtype == torch.int32
    assert stored.values.tolist() == [[2, 1, 0], [0, 0, 0], [1, 0, 0], [3, 2, 3]]
    assert stored.lengths.tolist() == [2, 0, 1, 3]
    inputs = Tokens().prepare(stored, spec)
    assert inputs.dtype == torch.int64
    assert inputs.tolist() == stored.values.tolist()


def test_text_in_another_order_of_rows():
    column, spec = TextColumn(TEXTS), TokenSpec(("red",), 8)
    forward = Tokens().encode(column, range(6), spec).values
    backward = Tokens().encode(column, range(5, -1, -1), spec).values
    assert torch.equal(forward, backward.flip(0))


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_tfidf_equals_scikit_learn(ngrams):
    text = TfidfVectors(ngrams=ngrams)
    column = TextColumn(TEXTS)
    spec = text.fit(column, TRAIN)
    spec = spec_from_json(json.loads(json.dumps(spec_to_json(spec))))
    assert isinstance(spec, TfidfSpec)
    inputs = text.prepare(text.encode(column, range(6), spec), spec)
    reference = TfidfVectorizer(ngram_range=(1, ngrams), sublinear_tf=True)
    reference.fit([TEXTS[row] or "" for row in TRAIN if TEXTS[row] is not None])
    expected = reference.transform([text or "" for text in TEXTS]).toarray().astype(np.float32)
    assert spec.terms == tuple(reference.get_feature_names_out())
    assert inputs.shape == (6, spec.width)
    assert (inputs.numpy() == expected).all()


def test_tfidf_keeps_the_most_frequent_terms():
    texts = ["red hat", "red red coat", "hat"]
    spec = TfidfVectors(max_terms=2, ngrams=1).fit(TextColumn(texts), range(3))
    assert spec.terms == ("hat", "red")


def test_tfidf_stores_ids_and_weights_and_zeros_for_nothing():
    spec = TfidfSpec(terms=("blue", "red"), idf=(1.0, 1.0), ngrams=1)
    stored = TfidfVectors().encode(TextColumn(["red", None, "blue red"]), range(3), spec)
    half = pytest.approx(0.5**0.5)
    assert stored.values.tolist() == [
        [[2, 0], [1, 0]],
        [[0, 0], [0, 0]],
        [[1, 2], [half, half]],
    ]
    none = TfidfVectors().encode(TextColumn(["hat"]), [0], spec)
    assert TfidfVectors().prepare(none, spec).tolist() == [[0, 0]]


def test_tfidf_without_a_word():
    with pytest.raises(DataError) as error:
        TfidfVectors().fit(TextColumn(["a", None, "!"]), [0, 1, 2])
    check_error(error.value, "2 training", "training", types=("text",))


def test_a_vocabulary_travels_with_the_weights():
    column = TextColumn(["any"])
    assert Tokens().inherits(column, TokenSpec(("red",), 4))
    assert TfidfVectors().inherits(column, TfidfSpec(("red",), (1.0,), 1))


def test_presence_and_digest():
    column = TextColumn(["é", None, ""])
    assert column.present.tolist() == [True, False, True]
    assert column.digest(0) == "é".encode()


def test_bytes_per_row():
    assert Tokens().bytes_per_row(TokenSpec((), 64)) == 264
    assert TfidfVectors().bytes_per_row(TfidfSpec(("a", "b"), (1.0, 1.0), 1)) == 16
