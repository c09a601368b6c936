"""Warm processes that run the jobs of a sweep side by side: how many, and what they say."""
