"""Small files to show: a scene with an opacifying vessel, its reconstruction, its subtraction, and DICOM runs."""

import numpy as np
import pytest

from fluorojax.cli import main
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import Provenance, ReconstructionWriter, write_challenge

SHAPE = (6, 24, 32)
PHOTONS, SCALE = 50_000.0, 4.0
VESSEL = (slice(None), slice(14, 17))


def true_x():
    """A slope over the columns, and a vessel that fills from frame 3 on."""
    x = np.broadcast_to(0.3 + 0.01 * np.arange(SHAPE[2]), SHAPE).astype(np.float32).copy()
    x[3:, *VESSEL] += 0.1
    return x


@pytest.fixture(scope="session")
def shown(tmp_path_factory):
    """A folder with in.h5 (two scenes), out.h5 (their results), one.h5 (a single scene) and sub.h5, map.h5."""
    folder = tmp_path_factory.mktemp("shown")
    rng, x = np.random.default_rng(0), true_x()
    scenes = [
        Scene(
            f"sample_0{index}",
            rng.poisson(PHOTONS * np.exp(-SCALE * x)).astype(np.float32),
            Acquisition(photons_per_pixel=PHOTONS, attenuation_scale=SCALE, frame_time_ms=100.0),
            SpecRanges.for_tier("public"),
            x_true=x,
            true_spec=Spec(),
        )
        for index in range(2)
    ]
    write_challenge(folder / "in.h5", scenes)
    write_challenge(folder / "one.h5", scenes[:1])
    options = Provenance.of_run(folder / "in.h5", ReconstructOptions(seed=1))
    with ReconstructionWriter(folder / "out.h5", options, source=folder / "in.h5") as writer:
        for scene in scenes:
            writer.write(
                Reconstruction(
                    scene.name,
                    x,
                    np.full(SHAPE, 0.004, np.float32),
                    Spec(),
                    Spec(1.0, 1.0, 1.0),
                    {name: (-1.0, 1.0) for name in ("motion_blur", "lag", "gain_drift")},
                    Status.CONVERGED,
                    1.0,
                    nominal=scene.acquisition.as_dict(),
                    pixel_mm=0.2,
                )
            )
    for name, extra in (("sub", []), ("map", ["--road-map"])):
        arguments = ["subtract", str(folder / "one.h5"), "-o", str(folder / f"{name}.h5"), "--mask", "0:3", "-q"]
        assert main([*arguments, *extra]) == 0
    return folder
