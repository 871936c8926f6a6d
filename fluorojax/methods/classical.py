"""The classical methods of :mod:`fluorojax.classical` behind the protocol of all methods.

They use the medians of the spec posterior as if they were exact, and state no uncertainty of the spec.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from fluorojax.classical import CLASSICAL, with_electronic_noise
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.spec import Spec
from fluorojax.methods.protocol import Job, Method, SceneMethod


@dataclass(frozen=True)
class ClassicalBase(SceneMethod):
    """A classical method; :func:`classical_method` makes a class of it for every name."""

    name: ClassVar[str]
    uses_model: ClassVar[bool] = False

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "ClassicalBase":
        """Classical methods have no settings: their parameters were frozen on simulated scenes of other seeds."""
        return cls()

    def run(self, job: Job) -> Reconstruction:
        """See :class:`~fluorojax.methods.protocol.SceneMethod`.

        Raises ``ValueError`` for a single frame, ``ModuleNotFoundError`` where the package that does the work is not
        installed.
        """
        scene, spec = job.scene, job.posterior.spec
        found = with_electronic_noise(CLASSICAL[self.name].method, scene.y, scene.acquisition, spec, scene.operator)
        return Reconstruction(
            name=scene.name,
            x_hat=found.x_hat,
            x_std=found.x_std,
            spec=spec,
            spec_std=Spec.from_dict(dict.fromkeys(spec.names, math.nan)),
            spec_interval={},
            status=Status.CONVERGED,
            seconds=math.nan,
            parameters=job.posterior.parameters,
        )


@cache
def classical_method(name: str) -> type[Method] | None:
    """The class of a classical method, or None where there is none of that name."""
    entry = CLASSICAL.get(name)
    if entry is None:
        return None
    about = f"{entry.label}: a classical filter, for comparison; it states no uncertainty of the spec."
    return type(f"Classical_{name}", (ClassicalBase,), {"name": name, "label": entry.label, "summary": about})
