"""What identifies the counts of a scene, in whatever file and type they are stored."""

import hashlib

import numpy as np
from jaxtyping import Num


def counts_digest(counts: Num[np.ndarray, "*shape"]) -> str:
    """SHA-256, hexadecimal, of the shape and the values of the counts (as little-endian float32) of one scene.

    The same counts have the same digest in whatever file format and dtype they are stored.
    """
    with np.errstate(over="ignore"):  # a value beyond float32 is refused elsewhere
        values = np.ascontiguousarray(np.asarray(counts), "<f4")
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()
