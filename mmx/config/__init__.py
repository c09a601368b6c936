"""Configs: compose, check and build. The only package that knows Hydra and OmegaConf.

    argv ─ compose ─ Composed (plain data) ─ check ─ build ─ objects

``compose`` turns overrides into plain, resolved data. ``signature`` holds a node
against the signature of the class that it names, types and ranges included, and
collects every problem. ``build`` makes the object, after the object itself (not the
string that names it) has been found in an allowed package.
"""
