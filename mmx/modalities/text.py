"""Text: word ids for encoders that read a sequence, TF-IDF vectors for those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import DataError
from mmx.modalities.base import Column, Modality, RowNumbers, Spec, Stored, as_rows
from mmx.modalities.tokenizers import Tokenize, tokenizer

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

PADDING, UNKNOWN = 0, 1
FIRST_WORD = 2
MANY = 10  # one text of so many, or more, is worth a remark

FeatureCount = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class TokenSpec(Spec):
    """A vocabulary: id 0 is padding, id 1 an unknown word, word ``i`` has id ``i + 2``.

    Attributes:
        words: The known words, most frequent first.
        max_tokens: T; a longer text is cut.
        tokenizer: What divides a text; see :func:`mmx.modalities.tokenizers.tokenizer`.
    """

    words: tuple[str, ...]
    max_tokens: int
    tokenizer: str = "word"

    @property
    def vocabulary(self) -> int:
        """How many ids there are, padding and unknown included."""
        return len(self.words) + FIRST_WORD


@dataclass(frozen=True)
class TfidfSpec(Spec):
    """A vocabulary of terms and how telling each is.

    Attributes:
        terms: V words and word n-grams, sorted.
        idf: Inverse document frequency of each term.
        ngrams: Terms are of 1 to this many words.
        tokenizer: What divides a text; see :func:`mmx.modalities.tokenizers.tokenizer`.
    """

    terms: tuple[str, ...]
    idf: tuple[float, ...]
    ngrams: int
    tokenizer: str = "word"

    @property
    def width(self) -> int:
        """V, the width of a vector."""
        return len(self.terms)


class TextColumn(Column):
    """Texts.

    Args:
        texts: One a row, None where the row has no text.
    """

    def __init__(self, texts: Sequence[str | None]) -> None:
        self.texts = texts
        self.present = np.array([text is not None for text in texts], dtype=np.bool_)

    def digest(self, row: int) -> bytes:
        """Return the text as UTF-8."""
        return (self.texts[row] or "").encode()

    def read(self, rows: RowNumbers) -> list[str]:
        """Return the texts of ``rows``, "" where absent."""
        return [self.texts[row] or "" for row in as_rows(rows)]


class Tokens(Modality[TextColumn, TokenSpec]):
    """Sequences of lower-cased words, for encoders that read them in order.

    A word is one of any script; see :mod:`mmx.modalities.tokenizers`.

    The vocabulary is learned from the training rows, most frequent words first, ties by
    alphabet. It travels with the weights: a target keeps the ids of its source.

    Args:
        max_words: Size of the vocabulary, at most.
        max_tokens: T; a longer text is cut at the end.
        min_count: Words that occur less often are unknown.
        pairs: Where no spaces are written between words, read pairs of characters too, after
            all characters: for encoders to which the order says nothing.
    """

    name = "text"

    def __init__(
        self,
        *,
        max_words: FeatureCount = 20_000,
        max_tokens: FeatureCount = 64,
        min_count: FeatureCount = 1,
        pairs: bool = False,
    ) -> None:
        self.max_words = max_words
        self.max_tokens = max_tokens
        self.min_count = min_count
        self.tokenizer = "script_pairs" if pairs else "script"

    def fit(self, column: TextColumn, rows: RowNumbers) -> TokenSpec:
        """Return the vocabulary of the rows.

        Raises:
            DataError: There are texts, but no word in any of them.
        """
        tokens = tokenizer(self.tokenizer)
        counts = Counter(word for text in column.read(rows) for word in tokens(text))
        known = [word for word, count in counts.items() if count >= self.min_count]
        texts = int(column.present[as_rows(rows)].sum())
        if texts and not known:
            times = f" {self.min_count} times or more" if self.min_count > 1 else ""
            raise DataError(
                f"the {texts} training texts hold no word{times}",
                tip="point the text at another column",
            )
        known.sort(key=lambda word: (-counts[word], word))
        return TokenSpec(tuple(known[: self.max_words]), self.max_tokens, self.tokenizer)

    def encode(self, column: TextColumn, rows: RowNumbers, spec: TokenSpec) -> Stored:
        """Return ``(B, T)`` int32 ids; a text without words is one unknown word."""
        rows = as_rows(rows)
        ids = {word: i + FIRST_WORD for i, word in enumerate(spec.words)}
        values = np.full((len(rows), spec.max_tokens), PADDING, dtype=np.int32)
        lengths = np.zeros(len(rows), dtype=np.int64)
        tokens = tokenizer(spec.tokenizer)
        for i, (row, text) in enumerate(zip(rows, column.read(rows), strict=True)):
            if column.present[row]:
                words = tokens(text)[: spec.max_tokens]
                found = [ids.get(word, UNKNOWN) for word in words] or [UNKNOWN]
                values[i, : len(found)] = found
                lengths[i] = len(found)
        return Stored(torch.from_numpy(values), torch.from_numpy(lengths))

    def example(self) -> TokenSpec:
        """Return a vocabulary of one word."""
        return TokenSpec(("word",), self.max_tokens)

    def bytes_per_row(self, spec: TokenSpec) -> int:
        """Return four bytes a token, and the length."""
        return 4 * spec.max_tokens + 8

    def inherits(self, column: TextColumn, spec: TokenSpec) -> bool:
        """Return True: word embeddings mean nothing under other ids."""
        return True

    def remarks(self, column: TextColumn, rows: RowNumbers, spec: TokenSpec) -> tuple[str, ...]:
        """Return how many texts are alike once divided, and how many are cut."""
        divide = tokenizer("script" if spec.tokenizer == "script_pairs" else spec.tokenizer)
        texts, tokens = _tokenize(column, rows, divide)
        remarks = _alike(texts, tokens)
        long = sum(len(words) > spec.max_tokens for words in tokens)
        if long and long * MANY >= len(texts):
            remarks += (
                f"text: {long} of {len(texts)} training texts are longer than max_tokens "
                f"(={spec.max_tokens}) and are cut at the end",
            )
        return remarks

    def prepare(self, stored: Stored, spec: TokenSpec) -> Tensor:
        """Return ``(B, T)`` int64 ids."""
        return stored.values.to(torch.int64)


class TfidfVectors(Modality[TextColumn, TfidfSpec]):
    """Bags of words and word n-grams, weighted by sublinear TF-IDF, of length one.

    The same numbers as scikit-learn's ``TfidfVectorizer(sublinear_tf=True)``. Vectors are
    stored sparse, as (id, weight) pairs, and made dense batch by batch.

    Args:
        max_terms: V at most; the most frequent terms are kept.
        ngrams: Terms are of 1 to this many words.
    """

    name = "text"

    def __init__(
        self,
        *,
        max_terms: Annotated[int, Field(ge=1, lt=2**24)] = 20_000,  # ids are stored as float32
        ngrams: FeatureCount = 2,
    ) -> None:
        self.max_terms = max_terms
        self.ngrams = ngrams

    def fit(self, column: TextColumn, rows: RowNumbers) -> TfidfSpec:
        """Return terms and weights of the rows.

        Raises:
            DataError: The rows hold no word of two letters or more.
        """
        present = [row for row in as_rows(rows) if column.present[row]]
        name = "script" if self.ngrams > 1 else "script_pairs"
        vectorizer = _vectorizer(self.ngrams, name, max_features=self.max_terms)
        try:
            vectorizer.fit(column.read(present))
        except ValueError as error:
            raise DataError(
                f"the {len(present)} training texts hold no word of two letters or more",
                tip="point the text at another column",
            ) from error
        terms = tuple(vectorizer.get_feature_names_out().tolist())
        return TfidfSpec(terms, tuple(vectorizer.idf_.tolist()), self.ngrams, name)

    def encode(self, column: TextColumn, rows: RowNumbers, spec: TfidfSpec) -> Stored:
        """Return ``(B, 2, K)`` float32: ids and weights of the terms of each row.

        K is the largest number of different known terms in one of ``rows``. Term ``i`` has
        id ``i + 1``; id 0 is padding and weighs nothing.
        """
        vectorizer = _vectorizer(spec.ngrams, spec.tokenizer, vocabulary=spec.terms)
        vectorizer.idf_ = np.array(spec.idf)
        sparse = vectorizer.transform(column.read(rows))  # (B, V), compressed rows
        counts = np.diff(sparse.indptr)
        values = np.zeros((len(counts), 2, max(1, counts.max(initial=0))), dtype=np.float32)
        row = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(sparse.nnz) - np.repeat(sparse.indptr[:-1], counts)
        values[row, 0, place] = sparse.indices + 1
        values[row, 1, place] = sparse.data
        return Stored(torch.from_numpy(values))

    def example(self) -> TfidfSpec:
        """Return a vocabulary of one term."""
        return TfidfSpec(("term",), (1.0,), self.ngrams)

    def bytes_per_row(self, spec: TfidfSpec) -> int:
        """Return eight bytes a term, as if a row held all of them."""
        return 8 * spec.width

    def inherits(self, column: TextColumn, spec: TfidfSpec) -> bool:
        """Return True: the first layer's weights mean nothing under other terms."""
        return True

    def remarks(self, column: TextColumn, rows: RowNumbers, spec: TfidfSpec) -> tuple[str, ...]:
        """Return how many texts are alike once divided."""
        return _alike(*_tokenize(column, rows, tokenizer(spec.tokenizer, bag=True)))

    def prepare(self, stored: Stored, spec: TfidfSpec) -> Tensor:
        """Return ``(B, V)`` float32."""
        ids = stored.values[:, 0].to(torch.int64)
        dense = stored.values.new_zeros(len(ids), spec.width + 1)
        # An id occurs once a row, and padding only writes zeros into column 0: the
        # order of the writes does not matter, so this is deterministic on every device.
        return dense.scatter_(1, ids, stored.values[:, 1])[:, 1:]


def _tokenize(
    column: TextColumn, rows: RowNumbers, tokens: Tokenize
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the different texts of the rows, and the tokens of each."""
    texts = list(dict.fromkeys(text for text in column.read(rows) if text))
    return texts, [tuple(tokens(text)) for text in texts]


def _alike(texts: list[str], tokens: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Return a remark where many different texts have the same tokens."""
    first: dict[tuple[str, ...], str] = {}
    same = [
        (first.setdefault(words, text), text) for text, words in zip(texts, tokens, strict=True)
    ]
    pairs = [(one, other) for one, other in same if one != other and one.lower() != other.lower()]
    if len(pairs) * MANY < len(texts) or not pairs:
        return ()
    one, other = (text if len(text) <= 40 else f"{text[:39]}…" for text in pairs[0])
    return (
        f"text: {len(pairs)} of {len(texts)} different training texts are read like another one, "
        f"since they differ only in punctuation, symbols, case or single letters, such as "
        f"{one!r} and {other!r}",
    )


def _vectorizer(ngrams: int, name: str, **options: object) -> TfidfVectorizer:
    # scikit-learn takes a second to import, and only this vectoriser needs it.
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, ngrams),
        sublinear_tf=True,
        tokenizer=tokenizer(name, bag=True),
        token_pattern=None,
        lowercase=False,
        **options,
    )
