"""Zero-shot: answers from the names of the classes, by a published image-text pair."""

from __future__ import annotations

from mmx.controls.base import Control


class ZeroShotControl(Control):
    """Answers without training. Use it to see whether the target's labels were worth having.

    Each class is a text, such as ``a photo of a cat.``; an image is answered by the class whose
    text is nearest. The encoder of images must have a text tower that was trained with it.
    """

    needs_labels = True
    needs_text_tower = True
    trained = False
    options = ("templates",)
