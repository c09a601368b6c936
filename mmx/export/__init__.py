"""A trained model in a folder that runs elsewhere, without mmx: ``mmx export``.

Shape legend: ``B`` batch, ``T`` steps, ``M`` inputs, ``C`` outputs.

``folder.py`` builds the folder; ``graph.py`` is the model from raw values to answers; ``inputs/``
has one kind of input a file, ``formats/`` one format a file; ``readers/`` are copied beside the
model, and read raw inputs without mmx; ``check.py`` compares what was written with the run.
"""
