"""mmx from Python: what the verbs do, with values instead of text. ``import mmx`` offers it.

    import mmx

    run = mmx.train("source=digits", "target=digits_av", "fusion=gated")
    run.summary.gain, run.metrics, run.model
    run.predict("new.csv")                       # or a DataFrame with the same columns
    mmx.list_runs("outputs", "target=digits_av", "accuracy>0.7")

Settings are written as on the command line, and errors are the same :class:`~mmx.errors.MmxError`.
Importing it loads no torch; a call loads what it needs. Tables are pandas DataFrames, for which
the extra ``pandas`` is needed.
"""

from mmx.api.listing import list_runs
from mmx.api.run import Run, load
from mmx.api.training import compose, train

__all__ = ["Run", "compose", "list_runs", "load", "train"]
