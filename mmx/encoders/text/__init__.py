"""Encoders of text input."""
