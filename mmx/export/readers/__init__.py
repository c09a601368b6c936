"""Readers of raw inputs that are copied beside an exported model, so that it runs without mmx.

Each file has ``read(cell, how)``: the values of a row as an array, or None where the row lacks the
input. ``cell`` is what a row of JSON holds: a path, a text, numbers or cells by column. ``how`` is
the input's entry in ``model.json``. None of the files imports mmx.
"""
