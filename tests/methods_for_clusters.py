"""A method that is known in every worker of a test, answers at once, and can be told to fail or to kill its process.

``TOLD`` is an environment variable with a folder. A file ``kill NAME`` there kills the process that computes the scene
NAME, and goes, so that the next process survives; ``always kill NAME`` stays. ``fail NAME`` makes the scene fail,
``break NAME`` the program; ``wait NAME`` makes the computation wait until the file is gone.
"""

import math
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.spec import Spec
from fluorojax.methods.protocol import Job, SceneMethod
from fluorojax.methods.registry import method_names, register_method

TOLD = "FLUOROJAX_TEST_TOLD"
NAME = "obedient"


@dataclass(frozen=True)
class ObedientMethod(SceneMethod):
    """See the module docstring."""

    label: ClassVar[str] = "obedient"
    summary: ClassVar[str] = "For tests."
    uses_model: ClassVar[bool] = False
    seed: int = 0

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "ObedientMethod":
        return cls(options.seed)

    def run(self, job: Job) -> Reconstruction:
        scene, told = job.scene, Path(os.environ[TOLD])
        with (told / "computed").open("a", encoding="utf-8") as log:
            log.write(f"{scene.name} {os.getpid()}\n")
        job.report(0.5, "half way")
        if (told / f"kill {scene.name}").exists():
            (told / f"kill {scene.name}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (told / f"always kill {scene.name}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (told / f"fail {scene.name}").exists():
            raise ValueError("told to fail")
        if (told / f"break {scene.name}").exists():
            raise RuntimeError("told to break")
        while (told / f"wait {scene.name}").exists():
            time.sleep(0.05)
            job.report(0.6, "waiting")
        noise = np.random.default_rng([self.seed, *scene.name.encode()]).normal(size=scene.y.shape)
        x_hat = (np.log1p(scene.y) + noise).astype(np.float32)
        nothing = Spec.from_dict(dict.fromkeys(job.posterior.spec.names, math.nan))
        return Reconstruction(
            scene.name, x_hat, np.ones_like(x_hat), job.posterior.spec, nothing, {}, Status.CONVERGED, math.nan
        )


def register() -> None:
    """Make the method known in this process."""
    if NAME not in method_names():
        register_method(NAME, ObedientMethod)


def dask_setup(worker) -> None:
    """What a Dask worker runs first, with this module as its preload."""
    register()
