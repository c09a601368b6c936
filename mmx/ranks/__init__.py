"""The processes of one run: the first leads it and writes its directory, the others follow.

``processes=2`` starts the others on this machine; ``torchrun`` has started them already. Then::

    rank 0                                  rank 1, 2, …
    makes the run directory
    says which run, and where      ──────▸  copies the directory, as it is at this moment
    runs its stages   ◂── sums, answers ──▸ runs its stages, in its own copy
    writes summary, status, index           forgets its copy

So every stage, control and evaluation is the code of one process, and nothing in it asks which
process it is: what a follower writes goes into its copy, and what it says is not heard. The steps
of :func:`mmx.training.fit.fit` and the answers of :func:`mmx.evaluation.predict.predict` are
divided; everything else is computed in each process alike. A run that is resumed starts from its
directory, with as many processes.
"""
