"""What stages have made, kept so that nothing is computed twice.

    cache = Cache(location(), limit_bytes=20 * 10**9)
    tensors, facts = cache.get_or_make("features", inputs, make, what="photo", say=print)

    <cache>/<kind>/<key[:2]>/<key>/
      tensors.safetensors   tensors and facts, with the key
      provenance.json       kind, what, inputs, facts, code, created, seconds, bytes, hash
    <cache>/.locks/<key>    held while the artifact is made, read or removed; stays

The key is a digest of the kind, the inputs and the code, so an artifact is never out of
date: what differs has another key. An artifact appears with one rename, its hash is
checked whenever it is read, and what was not used for longest goes first when the cache is
full. Nothing here imports torch before tensors are packed or unpacked.
"""

from mmx.runs.cache.artifact_cache import Cache
from mmx.runs.cache.folder import Artifact, location, readable_bytes

__all__ = ["Artifact", "Cache", "location", "readable_bytes"]
