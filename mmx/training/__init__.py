"""Training: the loop, and what it needs.

    result = fit(model, data, loss, start, recipe)

``fit`` is the same for source, target and control. All that is drawn in it depends on
the seed, the stage and the step number alone, so a run that was killed and resumed
draws what it would have drawn anyway.
"""
