"""The learned posterior: mean and standard deviation of every pixel from a network trained on simulated scenes.

The network gets the counts and the spec posterior. It is trained on simulated scenes only (``fluorojax.learned``). Its
response to one posterior sd of each spec parameter gives the share of the imaging chain in the uncertainty.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from fluorojax.calibration.identifiability import describe
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.spec import PUBLISHED
from fluorojax.learned.inference import MIN_FRAMES, outside_training, posterior
from fluorojax.learned.weights import DEFAULT, Weights, load_weights, shipped_file
from fluorojax.methods.protocol import Job, SceneMethod
from fluorojax.physics.dose import FrameDose


@dataclass(frozen=True)
class LearnedMethod(SceneMethod):
    """See the module docstring and :func:`fluorojax.learned.inference.posterior`."""

    label: ClassVar[str] = "fluorojax learned"
    summary: ClassVar[str] = "Mean and standard deviation from a network trained on simulated scenes, in a second."
    uses_model: ClassVar[bool] = False

    weights: Path
    """File of the weights."""
    mirrors: int = 2
    """Mirror images whose answers are averaged."""

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "LearnedMethod":
        """The shipped weights, or the file that ``options.weights`` names; raises ``ValueError`` for bad weights."""
        name = options.weights or DEFAULT
        method = cls(Path(name) if name.endswith(".npz") else shipped_file(name))
        method._load()  # bad weights are told before any scene is read
        return method

    def assets(self) -> tuple[Path, ...]:
        """The file of the weights."""
        return (self.weights,)

    def _load(self) -> Weights:
        return _loaded(self.weights, self.weights.stat().st_mtime_ns if self.weights.is_file() else 0)

    def run(self, job: Job) -> Reconstruction:
        """See :class:`~fluorojax.methods.protocol.SceneMethod`.

        Raises ``ValueError`` naming the scene where the method does not serve it: fewer than three frames, or an
        imaging chain whose parameters are not the published ones.
        """
        scene, known = job.scene, job.posterior
        if scene.y.ndim != 3 or len(scene.y) < MIN_FRAMES:
            raise ValueError(
                f"{scene.name}: counts have shape {scene.y.shape}; the method 'learned' expects at least {MIN_FRAMES} "
                "frames, and the method 'map' serves fewer"
            )
        if known.parameters != PUBLISHED:
            names = ", ".join(parameter.name for parameter in known.parameters)
            raise ValueError(
                f"{scene.name}: the imaging chain has {names}; the method 'learned' knows the published ones"
            )
        if scene.operator.stage(FrameDose) is not None:
            raise ValueError(
                f"{scene.name}: the dose changes from frame to frame; the method 'learned' was trained on runs of one "
                "dose, and the method 'map' serves others"
            )
        weights, protocol = self._load(), scene.acquisition.as_dict()
        mean, std = known.array("mean"), known.array("std")
        found = posterior(
            weights.network,
            scene.y,
            protocol,
            mean,
            std,
            mirrors=self.mirrors,
            report=lambda share: job.report(share, "the network works on the tiles"),
        )
        variance = found.std**2
        shares = found.spec_variance.mean(axis=(1, 2, 3)) / variance.mean()
        outside = outside_training(scene.y, protocol, mean)
        finite = bool(np.isfinite(found.mean).all() and np.isfinite(found.std).all())
        return Reconstruction(
            name=scene.name,
            x_hat=found.mean,
            x_std=found.std,
            spec=known.spec,
            spec_std=known.std,
            spec_interval=known.interval,
            status=Status.CONVERGED if finite else Status.DIVERGED,
            seconds=math.nan,
            spec_correlation=np.sign(found.response)
            * np.sqrt(found.spec_variance / np.maximum(variance, np.finfo(np.float32).tiny)),
            diagnostics={
                "model": f"{weights.recipe.get('architecture')} {weights.sha256[:12]}",
                "weights": {"file": self.weights.name, "sha256": weights.sha256},
                "variance_share_of_chain": dict(zip(known.marginals, map(float, shares), strict=True)),
                **(
                    {"outside_training": outside, "verdict": f"outside the training range: {'; '.join(outside)}"}
                    if outside
                    else {}
                ),
                **describe(known, None, scene.ranges),
            },
        )


@lru_cache(maxsize=4)
def _loaded(file: Path, modified: int) -> Weights:
    """The same object for the same file, so that what was compiled for it is found again; ``modified`` is its time."""
    return load_weights(file)
