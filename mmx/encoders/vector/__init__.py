"""Encoders of vectors."""
