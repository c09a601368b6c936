"""Texts of image-text pairs: cleaned, then ids of sub-words."""

from __future__ import annotations

from mmx.errors import DataError
from mmx.export.inputs.sub_words import SubWordsInput
from mmx.json_object import Json
from mmx.modalities.clip_texts import CLEANERS, ClipTextSpec

CLEANED = tuple(CLEANERS)
"""Ways to clean a text that the reader beside the model knows too."""


class ClipTextsInput(SubWordsInput):
    """As sub-words, of a text that was cleaned before; a separator may be replaced by 0."""

    spec_type = ClipTextSpec
    spec: ClipTextSpec

    def describe(self) -> Json:
        """Return how a text is cleaned and divided.

        Raises:
            DataError: Only the library open_clip has the tokenizer, or can clean such texts.
        """
        if not self.spec.tokenizer or self.spec.clean not in CLEANED:
            raise DataError(
                "its texts are divided by the library open_clip itself, whose tokenizer cannot be "
                "written into a file"
            )
        return {
            **super().describe(),
            "clean": self.spec.clean,
            "stripped": self.spec.stripped,
        }
