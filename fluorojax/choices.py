"""What a user may choose, for the command line to know without importing JAX."""

METHODS = ("map", "mgvi")
"""Inference methods of :func:`fluorojax.reconstruct.reconstruct_scenes`."""

MAX_SEED = 2**63 - 1
"""Largest seed: JAX and HDF5 keep it as a signed 64-bit number."""
