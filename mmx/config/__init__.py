"""Configs: compose, check and build. The only package that knows Hydra and OmegaConf.

    argv ─ compose ─ Composed (plain data) ─ check ─ build ─ objects

``compose`` turns overrides into plain, resolved data. ``signature`` checks a node against
the signature of the class that it names, including types and ranges, and collects every
problem. ``build`` makes the object, after checking that the class itself (not only the
string that names it) comes from an allowed package.
"""
