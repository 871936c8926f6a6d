"""What a user may choose, for the command line to know without importing JAX."""

SPEC_SOURCES = ("calibrated", "joint", "nominal", "true")
"""Where the spec parameters come from: their calibration, the model together with the scene, zero, or the file."""

MAX_SEED = 2**63 - 1
"""Largest seed: JAX and HDF5 keep it as a signed 64-bit number."""

CHAIN_EXTENSIONS: dict[str, str] = {
    "scatter": "scatter of unknown share and kernel",
    "scatter-share": "scatter of unknown share",
    "scatter-kernel": "scatter of known share and unknown kernel",
    "glare": "veiling glare of unknown share and scale",
    "glare-share": "veiling glare of unknown share",
    "dark-start": "lag of a run that starts from dark",
    "slow-lag": "slow lag of unknown share, as flat panels have it",
}
"""Extensions of an imaging chain by name (:mod:`fluorojax.physics.extensions`), in words for help."""
