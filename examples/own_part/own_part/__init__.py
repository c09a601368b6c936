"""A fusion and an image encoder for mmx."""
