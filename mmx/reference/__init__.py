"""What can be typed, explained: every group, option and key, from the code that reads it.

The range of a key comes from the signature that checks it, its meaning from the docstring of its
class and the comments of its YAML file. ``mmx help``, ``--cfg job`` and the pages of the
documentation print the same :class:`~mmx.reference.entries.Key`.
"""
