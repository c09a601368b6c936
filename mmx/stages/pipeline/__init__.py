"""A run: its stages trained, its controls, and what its test split says."""
