"""Text: word ids for encoders of sequences, TF-IDF vectors for all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import Self

from mmx.errors import DataError
from mmx.modalities.base import Column, Modality, RowNumbers, Spec, Stored, as_rows, join_rows
from mmx.modalities.text_remarks import (
    MANY,
    note_broken_characters,
    note_equal_tokens,
    note_unknown,
    tokenize_distinct,
)
from mmx.modalities.tokenizers import (
    Tokenize,
    make_ngrams,
    make_tokenizer,
    make_word_ngrams,
    split_characters,
)

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

PADDING, UNKNOWN = 0, 1
FIRST_WORD = 2

FeatureCount = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class TokenSpec(Spec):
    """A vocabulary: id 0 is padding, id 1 an unknown word, word ``i`` has id ``i + 2``.

    Attributes:
        words: The known words, most frequent first.
        max_tokens: T; a longer text is cut.
        tokenizer: Name of the tokenizer; see :func:`mmx.modalities.tokenizers.make_tokenizer`.
    """

    words: tuple[str, ...]
    max_tokens: int
    tokenizer: str = "word"

    @property
    def vocabulary(self) -> int:
        """Number of ids, with those of padding and unknown words."""
        return len(self.words) + FIRST_WORD


@dataclass(frozen=True)
class TfidfSpec(Spec):
    """A vocabulary of terms and their inverse document frequencies.

    Attributes:
        terms: V words and word n-grams, sorted.
        idf: Inverse document frequency of each term.
        ngrams: Terms have at most this many words or characters.
        tokenizer: Name of the tokenizer; see :func:`mmx.modalities.tokenizers.make_tokenizer`.
        analyzer: What terms are made of; see :class:`TfidfVectors`.
        least: Terms have at least this many words or characters.
    """

    terms: tuple[str, ...]
    idf: tuple[float, ...]
    ngrams: int
    tokenizer: str = "word"
    analyzer: str = "word"
    least: int = 1

    @property
    def width(self) -> int:
        """V, the width of a vector."""
        return len(self.terms)


class TextColumn(Column):
    """Texts.

    Args:
        texts: A text for each row, or None where it has none.
    """

    cells = "texts"

    def __init__(self, texts: Sequence[str | None]) -> None:
        self.texts = texts
        self.present = np.array([text is not None for text in texts], dtype=np.bool_)

    def stack(self, others: Sequence[Self]) -> Self:
        """Return a column with the rows of others after those of this one."""
        rows = join_rows([self.texts, *(each.texts for each in others)])
        return type(self)(rows)

    def digest(self, row: int) -> bytes:
        """Return the text as UTF-8."""
        return (self.texts[row] or "").encode()

    def read(self, rows: RowNumbers) -> list[str]:
        """Return the texts of ``rows``, "" where absent."""
        return [self.texts[row] or "" for row in as_rows(rows)]


class Tokens(Modality[TextColumn, TokenSpec]):
    """Sequences of lower-case words.

    Use it with the encoders ``lstm``, ``text_cnn`` and ``embedding_mean``. Words of every
    script are recognised; see :mod:`mmx.modalities.tokenizers`.

    The vocabulary is learned from the training rows, most frequent words first, ties in
    alphabetical order. It belongs to the weights, so a target keeps the ids of its source.

    Args:
        max_words: Maximum size of the vocabulary.
        max_tokens: T; a longer text is cut at the end.
        min_count: Words that occur less often count as unknown.
        pairs: In scripts without spaces between words, also add pairs of characters, after all
            characters: for encoders that ignore the order of tokens.
        analyzer: What a token is: ``word``, or ``char``, a character with its combining marks, be
            it a letter, a sign or a blank: for code, and where one sign tells classes apart.

    Raises:
        ValueError: ``pairs`` with characters.
    """

    name = "text"
    column_type = TextColumn

    def __init__(
        self,
        *,
        max_words: FeatureCount = 20_000,
        max_tokens: FeatureCount = 64,
        min_count: FeatureCount = 1,
        pairs: bool = False,
        analyzer: Literal["word", "char"] = "word",
    ) -> None:
        if pairs and analyzer == "char":
            raise ValueError("`pairs` (=true) needs `analyzer` (=char) to be word")
        self.max_words = max_words
        self.max_tokens = max_tokens
        self.min_count = min_count
        words = "script_pairs" if pairs else "script"
        self.tokenizer = "char" if analyzer == "char" else words

    def fit(self, column: TextColumn, rows: RowNumbers) -> TokenSpec:
        """Return the vocabulary of the rows.

        Raises:
            DataError: There are texts, but none contains a word.
        """
        tokens = make_tokenizer(self.tokenizer)
        counts = Counter(word for text in column.read(rows) for word in tokens(text))
        known = [word for word, count in counts.items() if count >= self.min_count]
        texts = int(column.present[as_rows(rows)].sum())
        if texts and not known:
            times = f" {self.min_count} times or more" if self.min_count > 1 else ""
            raise DataError(
                f"the {texts} training texts hold no word{times}",
                tip="point the text at another column",
            )
        # Of equally frequent words the first by name, so that the order of rows plays no part.
        known.sort(key=lambda word: (-counts[word], word))
        return TokenSpec(tuple(known[: self.max_words]), self.max_tokens, self.tokenizer)

    def encode(self, column: TextColumn, rows: RowNumbers, spec: TokenSpec) -> Stored:
        """Return ``(B, T)`` int32 ids; a text without words counts as one unknown word."""
        rows = as_rows(rows)
        ids = {word: i + FIRST_WORD for i, word in enumerate(spec.words)}
        values = np.full((len(rows), spec.max_tokens), PADDING, dtype=np.int32)
        lengths = np.zeros(len(rows), dtype=np.int64)
        tokens = make_tokenizer(spec.tokenizer)
        for i, (row, text) in enumerate(zip(rows, column.read(rows), strict=True)):
            if column.present[row]:
                words = tokens(text)[: spec.max_tokens]
                found = [ids.get(word, UNKNOWN) for word in words] or [UNKNOWN]
                values[i, : len(found)] = found
                lengths[i] = len(found)
        return Stored(torch.from_numpy(values), torch.from_numpy(lengths))

    def example(self) -> TokenSpec:
        """Return a spec of one word."""
        return TokenSpec(("word",), self.max_tokens)

    def bytes_per_row(self, spec: TokenSpec) -> int:
        """Return four bytes for each token, and eight for the length."""
        return 4 * spec.max_tokens + 8

    def inherits(self, column: TextColumn, spec: TokenSpec) -> bool:
        """Return True, since word embeddings are meaningless under other ids."""
        return True

    def remarks(self, column: TextColumn, rows: RowNumbers, spec: TokenSpec) -> tuple[str, ...]:
        """Return notes on texts that are alike, cut, unknown, or hold broken characters."""
        # Pairs repeat what the characters say, so they would count texts as longer than they are.
        divide = make_tokenizer("script" if spec.tokenizer == "script_pairs" else spec.tokenizer)
        texts, tokens = tokenize_distinct(column.read(rows), divide)
        remarks = note_equal_tokens(texts, tokens) + note_broken_characters(texts)
        remarks += note_unknown(texts, tokens, spec.words, "different training texts")
        long = sum(len(words) > spec.max_tokens for words in tokens)
        if long and long * MANY >= len(texts):
            remarks += (
                f"text: {long} of {len(texts)} training texts are longer than max_tokens "
                f"(={spec.max_tokens}) and are cut at the end",
            )
        return remarks

    def remarks_on_other_rows(
        self, column: TextColumn, rows: RowNumbers, spec: TokenSpec, split: str
    ) -> tuple[str, ...]:
        """Return a note on texts without any known token."""
        texts, divide = _read_present(column, rows), make_tokenizer(spec.tokenizer)
        return note_unknown(texts, map(divide, texts), spec.words, f"{split} texts")

    def count_unknown(
        self, column: TextColumn, rows: RowNumbers, spec: TokenSpec
    ) -> tuple[int, int]:
        """Return how many tokens are not in the vocabulary, of how many."""
        tokens = map(make_tokenizer(spec.tokenizer), _read_present(column, rows))
        return _count_unknown(tokens, spec.words)

    def prepare(self, stored: Stored, spec: TokenSpec) -> Tensor:
        """Return ``(B, T)`` int64 ids."""
        return stored.values.to(torch.int64)  # embeddings take int64; int32 is for storage


class TfidfVectors(Modality[TextColumn, TfidfSpec]):
    """Bags of words and word n-grams, weighted by sublinear TF-IDF and scaled to norm 1.

    Use it with the encoder ``tfidf``. The numbers equal those of scikit-learn's
    ``TfidfVectorizer(sublinear_tf=True)``. Vectors are stored sparse, as pairs of id and
    weight, and each batch is made dense.

    Args:
        max_terms: Maximum of V; the most frequent terms are kept.
        ngrams: Terms have 1 to this many words or characters, or between two numbers, both
            included.
        analyzer: What terms are made of: ``word``; ``char``, characters with their combining
            marks, signs and blanks among them; or ``char_wb``, characters within words, with a
            blank before and behind each word. Both equal scikit-learn's where letters have no
            marks.

    Raises:
        ValueError: The first of two ``ngrams`` is the larger.
    """

    name = "text"
    column_type = TextColumn

    def __init__(
        self,
        *,
        max_terms: Annotated[int, Field(ge=1, lt=2**24)] = 20_000,  # ids are stored as float32
        ngrams: FeatureCount | tuple[FeatureCount, FeatureCount] = 2,
        analyzer: Literal["word", "char", "char_wb"] = "word",
    ) -> None:
        self.max_terms = max_terms
        self.least, self.ngrams = (1, ngrams) if isinstance(ngrams, int) else ngrams
        self.analyzer = analyzer
        if self.least > self.ngrams:
            raise ValueError(f"`ngrams` (={ngrams}): the first must not be the larger")

    def fit(self, column: TextColumn, rows: RowNumbers) -> TfidfSpec:
        """Return the terms of the rows and their inverse document frequencies.

        Raises:
            DataError: No row contains a word of two letters or more.
        """
        texts = _read_present(column, rows)
        # Bigrams of characters are pairs already, so pairs are only added without n-grams.
        name = "script" if self.ngrams > 1 else "script_pairs"
        blank = TfidfSpec((), (), self.ngrams, name, self.analyzer, self.least)
        vectorizer = _make_vectorizer(blank, max_features=self.max_terms)
        try:
            vectorizer.fit(texts)
        except ValueError as error:
            what = "word of two letters or more" if self.analyzer == "word" else "character"
            raise DataError(
                f"the {len(texts)} training texts hold no {what}",
                tip="point the text at another column",
            ) from error
        terms = tuple(vectorizer.get_feature_names_out().tolist())
        return replace(blank, terms=terms, idf=tuple(vectorizer.idf_.tolist()))

    def encode(self, column: TextColumn, rows: RowNumbers, spec: TfidfSpec) -> Stored:
        """Return ``(B, 2, K)`` float32: ids and weights of the terms of each row.

        K is the largest number of different known terms in one of ``rows``. Term ``i`` has
        id ``i + 1``; id 0 is padding and has weight 0.
        """
        vectorizer = _make_vectorizer(spec, vocabulary=spec.terms)
        vectorizer.idf_ = np.array(spec.idf)
        sparse = vectorizer.transform(column.read(rows))  # (B, V), compressed rows
        counts = np.diff(sparse.indptr)
        values = np.zeros((len(counts), 2, max(1, counts.max(initial=0))), dtype=np.float32)
        row = np.repeat(np.arange(len(counts)), counts)
        # The position of each entry within its row.
        place = np.arange(sparse.nnz) - np.repeat(sparse.indptr[:-1], counts)
        values[row, 0, place] = sparse.indices + 1  # 0 is padding
        values[row, 1, place] = sparse.data
        return Stored(torch.from_numpy(values))

    def count_terms(
        self, column: TextColumn, rows: RowNumbers, spec: TfidfSpec
    ) -> npt.NDArray[np.float32]:
        """Return ``(B, V)`` how often each known term occurs in each row."""
        from sklearn.feature_extraction.text import CountVectorizer  # slow to import

        vectorizer = _make_vectorizer(spec, vocabulary=spec.terms)
        # Of the parent, which counts; the vectoriser itself weighs what it has counted.
        counts = CountVectorizer.transform(vectorizer, column.read(rows))
        return np.asarray(counts.toarray(), dtype=np.float32)

    def example(self) -> TfidfSpec:
        """Return a spec of one term."""
        return TfidfSpec(("term",), (1.0,), self.ngrams)

    def bytes_per_row(self, spec: TfidfSpec) -> int:
        """Return eight bytes for each term, as if a row contained all of them."""
        return 8 * spec.width

    def inherits(self, column: TextColumn, spec: TfidfSpec) -> bool:
        """Return True, since the weights of the first layer are meaningless for other terms."""
        return True

    def remarks(self, column: TextColumn, rows: RowNumbers, spec: TfidfSpec) -> tuple[str, ...]:
        """Return notes on texts that are alike, unknown, or hold broken characters."""
        texts, tokens = tokenize_distinct(column.read(rows), _make_analyzer(spec, ngrams=False))
        remarks = note_equal_tokens(texts, tokens) + note_broken_characters(texts)
        terms = tokens if _knows_words(spec) else map(_make_analyzer(spec, ngrams=True), texts)
        return remarks + note_unknown(texts, terms, spec.terms, "different training texts")

    def remarks_on_other_rows(
        self, column: TextColumn, rows: RowNumbers, spec: TfidfSpec, split: str
    ) -> tuple[str, ...]:
        """Return a note on texts without any known term."""
        texts, divide = (
            _read_present(column, rows),
            _make_analyzer(spec, ngrams=not _knows_words(spec)),
        )
        return note_unknown(texts, map(divide, texts), spec.terms, f"{split} texts")

    def count_unknown(
        self, column: TextColumn, rows: RowNumbers, spec: TfidfSpec
    ) -> tuple[int, int]:
        """Return how many words, or n-grams where no word is a term, are no terms, of how many."""
        divide = _make_analyzer(spec, ngrams=not _knows_words(spec))
        return _count_unknown(map(divide, _read_present(column, rows)), spec.terms)

    def prepare(self, stored: Stored, spec: TfidfSpec) -> Tensor:
        """Return ``(B, V)`` float32."""
        ids = stored.values[:, 0].to(torch.int64)
        # One column more, that of padding, which is cut off at the end.
        dense = stored.values.new_zeros(len(ids), spec.width + 1)
        # An id occurs once in a row, and padding only writes zeros to column 0. So the order
        # of the writes does not matter, and this is deterministic on every device.
        return dense.scatter_(1, ids, stored.values[:, 1])[:, 1:]


def _count_unknown(tokens: Iterable[Sequence[str]], known: Sequence[str]) -> tuple[int, int]:
    """Return how many tokens are not known, of how many."""
    vocabulary, unknown, count = set(known), 0, 0
    for words in tokens:
        count += len(words)
        unknown += sum(word not in vocabulary for word in words)
    return unknown, count


def _read_present(column: TextColumn, rows: RowNumbers) -> list[str]:
    """Return the texts of those rows that have one."""
    return column.read([int(row) for row in as_rows(rows) if column.present[row]])


def _knows_words(spec: TfidfSpec) -> bool:
    """Return whether single words are terms: of a text with a known n-gram a word is known then."""
    return spec.analyzer == "word" and spec.least == 1


def _make_analyzer(spec: TfidfSpec, *, ngrams: bool) -> Tokenize:
    """Return the function that divides a text into terms, or into what terms are made of."""
    if spec.analyzer == "word":
        words = make_tokenizer(spec.tokenizer, bag=True)
        if not ngrams:
            return words
        analyze: Tokenize = _make_vectorizer(spec).build_analyzer()
        return analyze
    if not ngrams:
        return split_characters
    join = make_ngrams if spec.analyzer == "char" else make_word_ngrams
    return lambda text: join(split_characters(text), spec.least, spec.ngrams)


def _make_vectorizer(spec: TfidfSpec, **options: object) -> TfidfVectorizer:
    # scikit-learn takes a second to import, and only this vectoriser needs it.
    from sklearn.feature_extraction.text import TfidfVectorizer

    if spec.analyzer != "word":
        analyze = _make_analyzer(spec, ngrams=True)
        return TfidfVectorizer(analyzer=analyze, sublinear_tf=True, **options)
    return TfidfVectorizer(
        ngram_range=(spec.least, spec.ngrams),
        sublinear_tf=True,
        tokenizer=make_tokenizer(spec.tokenizer, bag=True),
        token_pattern=None,
        lowercase=False,
        **options,
    )
