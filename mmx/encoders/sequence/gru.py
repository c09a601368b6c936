"""A bidirectional GRU over the steps of a sequence."""

from __future__ import annotations

from mmx.encoders.bilstm import BiGru
from mmx.encoders.sequence.recurrent import Recurrent


class Gru(Recurrent):
    """Gated recurrent units; see :class:`~mmx.encoders.sequence.recurrent.Recurrent`.

    Use it as ``lstm``: it has a quarter fewer parameters, which helps where rows are few.

    Reference: Cho et al. 2014, arXiv 1406.1078.
    """

    architecture = "gru"
    make_cells = staticmethod(BiGru)
