"""Reads a text: ids of its words, or counts of its terms. Needs numpy."""

import re
import unicodedata
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

TONE = "[\U0001f3fb-\U0001f3ff]"


def read(text: str, how: dict[str, Any]) -> Any:
    """Return ``(T,)`` ids, or ``(V,)`` counts where the input has terms."""
    tokens = split(text, how["tokenizer"])
    if "terms" in how:
        found = Counter(make_terms(tokens, how))
        return np.array([found[term] for term in how["terms"]], dtype=np.float32)
    ids = {word: number for number, word in enumerate(how["words"], how["first_word"])}
    known = [ids.get(token, how["unknown"]) for token in tokens[: how["max_tokens"]]]
    return np.array(known or [how["unknown"]])


def split(text: str, how: dict[str, Any]) -> list[str]:
    """Return the lower-case tokens of a text."""
    if how["kind"] == "word":
        return re.findall(how["words"], text.lower())
    if how["kind"] == "char":
        text = re.sub(r"\s+", " ", text)
        plain = text.lower() if text.isascii() else normalize(text)
        return list(plain) if text.isascii() else re.findall(how["cluster"], plain, re.DOTALL)
    if text.isascii():
        return re.findall(how["words"], text.lower())
    tokens: list[str] = []
    pairs: list[str] = []
    for found in re.finditer(how["pattern"], normalize(text)):
        token = found[0]
        if found["run"]:  # of a script without blanks between words
            characters = re.findall(how["character"], token)
            tokens += characters
            pairs += map("".join, pairwise(characters))
        elif found["emoji"]:
            sign, tones = re.sub(TONE, "", token), re.findall(TONE, token)
            tokens += [sign, *tones] if sign else [token]
            if how["bag"]:
                tokens += unicodedata.name(token[0], "").lower().split()
        elif not how["bag"] or len(token) > 1 or is_syllable(token):
            tokens.append(token)
    return tokens + pairs if how["pairs"] else tokens


def normalize(text: str) -> str:
    """Return a text in lower case, in NFC, without full-width forms and variation selectors."""
    wide = re.sub("[\uff00-\uffef]+", lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return re.sub("[\ufe0e\ufe0f]", "", unicodedata.normalize("NFC", wide.lower()))


def is_syllable(letter: str) -> bool:
    """Return whether a single letter may be a word."""
    return letter >= "\u0900" and letter.isalpha() and letter.lower() == letter.upper()


def make_terms(tokens: list[str], how: dict[str, Any]) -> list[str]:
    """Return the n-grams of words, or of characters."""
    least, most = how["ngrams"]
    if how["analyzer"] == "word":
        return [" ".join(run) for n in range(least, most + 1) for run in runs_of(tokens, n)]
    if how["analyzer"] == "char":
        return ["".join(run) for n in range(least, most + 1) for run in runs_of(tokens, n)]
    found: list[str] = []
    word: list[str] = []
    for character in [*tokens, " "]:
        if character != " ":
            word.append(character)
            continue
        framed = [" ", *word, " "] if word else []
        for n in range(least, most + 1) if framed else ():
            found += ["".join(run) for run in runs_of(framed, n)] or ["".join(framed)]
            if len(framed) <= n:  # longer runs would only repeat the whole word
                break
        word = []
    return found


def runs_of(tokens: list[str], length: int) -> list[list[str]]:
    """Return all runs of a length."""
    return [tokens[at : at + length] for at in range(len(tokens) - length + 1)]
