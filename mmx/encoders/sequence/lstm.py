"""A bidirectional LSTM over the steps of a sequence."""

from __future__ import annotations

from mmx.encoders.bilstm import BiLstm
from mmx.encoders.sequence.recurrent import Recurrent


class Lstm(Recurrent):
    """Long short-term memory; see :class:`~mmx.encoders.sequence.recurrent.Recurrent`.

    Use it where the order of steps over the whole row matters. It is slower than ``tcn``, since
    it runs step by step.

    Reference: Graves and Schmidhuber 2005, doi 10.1016/j.neunet.2005.06.042.
    """

    architecture = "lstm"
    make_cells = staticmethod(BiLstm)
