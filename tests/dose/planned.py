"""A result of known parts, and a stand-in for the engine that follows a known law."""

import numpy as np

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.dose.planning import Region

SHAPE = (3, 8, 8)
NOISE, CHAIN, TOTAL = 0.03, 0.04, 0.05
REGION = Region((2, 6), (2, 6))
RANGES = SpecRanges.for_tier("public")


def make_result(**changes):
    """A result whose pixels have 0.03 from noise and 0.04 from the imaging chain, 0.05 together."""
    correlation = np.zeros((3, *SHAPE), np.float32)
    correlation[2] = CHAIN / TOTAL
    fields = {
        "name": "sample_00",
        "x_hat": np.full(SHAPE, 0.4, np.float32),
        "x_std": np.full(SHAPE, TOTAL, np.float32),
        "spec": Spec(1.0, 0.0, 0.1),
        "spec_std": Spec(1.0, 1.0, 0.1),
        "spec_interval": {},
        "status": Status.CONVERGED,
        "seconds": 1.0,
        "spec_correlation": correlation,
        "nominal": Acquisition(photons_per_pixel=1000.0, attenuation_scale=2.0).as_dict(),
        "prior_ranges": RANGES.as_dict(),
    }
    return Reconstruction(**{**fields, **changes})


class Law:
    """Stands in for the reconstruction: noise variance falls with the dose to the power −0.5; the rest stays."""

    def __init__(self):
        self.scenes = {}

    def __call__(self, scenes, options, *, progress=None):
        for scene in scenes:
            self.scenes[scene.name] = scene
            factor = scene.acquisition.as_dict()["photons_per_pixel"] / 1000.0
            noise = NOISE * factor**-0.25
            total = np.hypot(noise, CHAIN)
            correlation = np.zeros((3, *SHAPE), np.float32)
            correlation[2] = CHAIN / total
            yield make_result(name=scene.name, x_std=np.full(SHAPE, total, np.float32), spec_correlation=correlation)
