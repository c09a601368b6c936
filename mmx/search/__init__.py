"""A search over settings: its space, and the study that proposes, prunes and remembers trials."""
