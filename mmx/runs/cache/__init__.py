"""The artifact cache: results of stages are kept, so that nothing is computed twice.

    cache = Cache(location(), limit_bytes=20 * 10**9)
    tensors, facts = cache.get_or_make("features", inputs, make, what="photo", say=print)

    <cache>/<kind>/<key[:2]>/<key>/
      tensors.safetensors   tensors and facts, with the key
      provenance.json       kind, what, inputs, facts, code, created, seconds, bytes, hash
    <cache>/.locks/<key>    locked while the artifact is made, read or removed; never deleted

The key is a digest of the kind, the inputs and the code, so that an artifact is never out of
date: if anything differs, the key does. An artifact appears with one rename, its digest is
checked at every read, and the least recently used is removed first when the cache is full.
Torch is imported only when tensors are packed or unpacked.
"""

from mmx.runs.cache.artifact_cache import Cache
from mmx.runs.cache.folder import Artifact, location, readable_bytes

__all__ = ["Artifact", "Cache", "location", "readable_bytes"]
