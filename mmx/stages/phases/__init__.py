"""How each phase of a stage runs, one file for each phase."""
