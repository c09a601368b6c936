"""Why a model answered as it did: what parts of an input, and which inputs, contribute.

A :class:`Method` explains one output for one row by the parts of one of its inputs;
:mod:`mmx.explanations.shares` states what whole inputs contribute, to a metric and to the answer
for one row; :mod:`mmx.explanations.chosen_rows` chooses what is worth looking at.
"""

from mmx.explanations.base import Attribution, Completeness, Method, Question
from mmx.variants import find_variants

METHODS: dict[str, type[Method]] = find_variants("mmx.explanations", Method, skip=("base",))
"""Name to class of every method, from the files of this folder."""

__all__ = ["METHODS", "Attribution", "Completeness", "Method", "Question"]
