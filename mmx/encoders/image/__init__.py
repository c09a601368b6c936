"""Encoders of image input."""
