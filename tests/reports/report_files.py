"""Small files to report on."""

import numpy as np

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import Provenance, ReconstructionWriter, write_challenge

PHOTONS, SCALE = 200.0, 2.0


def random_images(shape, rng):
    """Truth, estimate and standard deviation."""
    x = rng.uniform(size=shape).astype(np.float32)
    return x, x + rng.normal(0, 0.05, shape).astype(np.float32), rng.uniform(0.03, 0.07, shape).astype(np.float32)


def smooth_images(shape, rng):
    """Truth, estimate and standard deviation whose every value tells its place."""
    frames = shape[0] if len(shape) == 3 else 1
    t, i, j = np.meshgrid(*(np.arange(n) for n in (frames, *shape[-2:])), indexing="ij")
    x_hat = (0.2 + 0.02 * i + 0.01 * j + 0.02 * np.sin(t + 0.1 * i)).astype(np.float32)
    std = (0.01 + 0.0001 * i + 0.0002 * j).astype(np.float32)
    return tuple(image.reshape(shape) for image in (x_hat + 0.004, x_hat, std))


def make_files(directory, shape=(4, 32, 32), count=2, images=random_images, public=True, **changes):
    """A reconstruction file and the challenge file it belongs to; ``changes`` are fields of every result."""
    truth, out = directory / "in.h5", directory / "out.h5"
    rng = np.random.default_rng(0)
    scenes, results = [], []
    for index in range(count):
        x, x_hat, x_std = images(shape, rng)
        name = f"sample_{index:02d}"
        scenes.append(
            Scene(
                name,
                rng.poisson(PHOTONS * np.exp(-SCALE * x)).astype(np.float32),
                Acquisition(photons_per_pixel=PHOTONS, attenuation_scale=SCALE),
                SpecRanges.for_tier("public"),
                x_true=x if public else None,
                true_spec=Spec(1.0, -2.0, 0.25) if public else None,
            )
        )
        fields = {
            "x_hat": x_hat,
            "x_std": x_std,
            "spec": Spec(2.345, 0.0, 0.2),
            "spec_std": Spec(0.5, 0.4, 0.1),
            "spec_interval": {"motion_blur": (1.5, 3.2), "lag": (-0.5, 0.5), "gain_drift": (0.1, 0.3)},
            "status": Status.CONVERGED,
            "seconds": 1.0,
            "diagnostics": {"identifiability": {"lag": "lag is <b>not</b> identifiable here & now"}, "iterations": 12},
        }
        results.append(Reconstruction(name=name, **{**fields, **changes}))
    write_challenge(truth, scenes)
    with ReconstructionWriter(out, Provenance.of_run(truth, ReconstructOptions(seed=11)), source=truth) as writer:
        for result in results:
            writer.write(result)
    return out, truth
