"""What is in a task's data, as facts that a page, a table or JSON can show; nothing is trained."""

from mmx.evaluation.data_facts.draw import draw_samples
from mmx.evaluation.data_facts.facts import (
    ColumnUse,
    DataFacts,
    ModalityFacts,
    Quantity,
    Tally,
)
from mmx.evaluation.data_facts.gather import InputReaders, gather_facts

__all__ = [
    "ColumnUse",
    "DataFacts",
    "InputReaders",
    "ModalityFacts",
    "Quantity",
    "Tally",
    "draw_samples",
    "gather_facts",
]
