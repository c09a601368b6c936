"""Training: the loop, and what it needs.

    result = fit(model, data, loss, start, recipe)

``fit`` is the same for source, target and control. All random draws depend only on the seed,
the role of the stage and the step number, so that a run that was killed and resumed draws the
same numbers as one that was never interrupted.
"""
