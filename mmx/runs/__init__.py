"""Runs on disk: the directory that holds an answer, and everything that reads it."""
