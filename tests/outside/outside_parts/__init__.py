"""A package that mmx knows nothing of: one part of each kind, one file each, and a YAML each."""
