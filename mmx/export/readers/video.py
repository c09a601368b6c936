"""Reads a video file: frames evenly spaced in time, resized. Needs av, Pillow and numpy."""

from importlib import import_module
from typing import Any

import av
import numpy as np
from PIL import Image

SAFE = {  # a list of files or a description of a stream would open others
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,ogg,mpeg,mpegts,"
    "mpegvideo,m4v,mxf,gif",
    "protocol_whitelist": "file",
}


def read(path: str, how: dict[str, Any]) -> Any:
    """Return ``(T, H, W, 3)`` uint8."""
    found: dict[Any, Any] = {}
    ends: list[int] = []
    with av.open(path, options=SAFE) as file:
        stream = file.streams.video[0]
        unit = float(stream.time_base or 0)
        for packet in file.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                ends.append(packet.pts + (packet.duration or 0))
            for frame in packet.decode():
                pixels = frame.to_ndarray(format="rgb24")
                found.setdefault(frame.pts, np.rot90(pixels, round(frame.rotation / 90)))
    stamps = np.array(sorted(found))
    seconds = (stamps - stamps[0]) * unit
    gap = int(np.median(np.diff(stamps))) if len(stamps) > 1 else 1
    last = max(ends) if max(ends) > stamps[-1] else int(stamps[-1]) + gap
    places = np.arange(how["frames"])
    if how["fps"] is None:
        times = (places + 0.5) * ((last - stamps[0]) * unit / how["frames"])
    else:
        times = places / how["fps"]
    shown = np.searchsorted(seconds, times + 1e-9, side="right").clip(1) - 1
    resize = import_module(f"{__package__}.image").resize
    return np.stack([resize(Image.fromarray(found[int(stamps[n])]), how) for n in shown])
