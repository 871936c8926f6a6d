"""A protocol and a posterior of the spec for tests of networks."""

import numpy as np

MEAN, STD = np.array([1.0, 1.0, 0.2]), np.array([2.0, 1.0, 0.1])
PROTOCOL = {
    "photons_per_pixel": 400.0,
    "attenuation_scale": 5.0,
    "frame_time_ms": 33.3,
    "pulse_width_ms": 8.0,
    "lag_ms": 10.0,
    "readout_delay_ms": 33.3,
    "scatter_fraction": 0.0,
}
