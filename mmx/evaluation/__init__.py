"""Evaluation: what a trained model is worth, and what a transfer has gained."""
