"""Encoders of tabular input."""
