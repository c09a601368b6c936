"""Encoders of audio input."""
