"""The interface of the classical methods, which map counts and a protocol to attenuation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator


@dataclass(frozen=True)
class Estimate:
    """The result of a method for one scene."""

    x_hat: Float[np.ndarray, "*shape"]
    """Normalised attenuation, float32, shape of the counts."""
    x_std: Float[np.ndarray, "*shape"] | None = None
    """Standard deviation of its noise, float32; None where the method gives none."""


@dataclass(frozen=True)
class ClassicalMethod(ABC):
    """A method; its fields are its parameters, their defaults the values frozen by ``benchmarks/tune_classical.py``.

    The defaults were chosen on simulated scenes of seed 9000, which no benchmark uses.
    """

    models_electronic_noise: ClassVar[bool] = False
    """Whether the method takes counts with the electronic noise of the protocol as they are; the others are called by
    :func:`fluorojax.classical.with_electronic_noise` on such counts."""

    @abstractmethod
    def __call__(
        self,
        y: Float[np.ndarray, "T H W"],
        acquisition: Acquisition,
        spec: Spec | None = None,
        operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
    ) -> Estimate:
        """Estimate the attenuation from counts.

        **Arguments:** ``y`` counts, quanta per pixel and frame; ``acquisition`` the nominal protocol; ``spec`` the spec
        to assume, None for the nominal one; ``operator`` the imaging chain of the scene. **Raises** ``ValueError`` for
        counts of another rank, ``ModuleNotFoundError`` where the package that does the work is not installed.
        """


def as_stack(y: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "T H W"]:
    """The counts in float32, checked to be a sequence."""
    if y.ndim != 3:
        raise ValueError(f"y has shape {y.shape}; expected a sequence (T, H, W)")
    return np.asarray(y, np.float32)
