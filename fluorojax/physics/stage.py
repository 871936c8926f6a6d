"""A stage of the imaging chain is a module that declares its unknown parameters and says where it acts.

A new stage is one file: subclass :class:`TemporalStage`, :class:`RateStage` or :class:`CountStage`, give it a ``name``
and its ``parameters``, and pass an instance to :meth:`fluorojax.physics.FluoroscopyOperator.with_stage`. The number,
names and order of the spec parameters everywhere else follow from the operator. :func:`register_stage` lets files name
the stage.
"""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Parameter, Spec


class Stage(eqx.Module):
    """A stage of the imaging chain; subclass one of the three kinds below.

    Stages are written for one scene and batched by ``jax.vmap``. Fields that are numbers are leaves of the pytree;
    static fields only select a formula. Both are what a file stores of a stage.
    """

    name: ClassVar[str]
    """Identifier in files, unique among the stages of an operator."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """The unknown parameters of the stage; a stage reads their values by ``spec.value(parameter)``."""

    def of_frames(self, first: int, last: int) -> "Stage":
        """The stage for the frames ``first`` … ``last − 1`` of a run; itself unless it holds a value for each frame."""
        return self


class TemporalStage(Stage):
    """A stage that acts along time alone, the same in every pixel: a (T, T) matrix."""

    @abstractmethod
    def applied_to(self, matrix: Float[Array, "T T"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T T"]:
        """The (T, T) product of the matrix of this stage with ``matrix``, that of all stages before it."""

    def gains(self, spec: Spec, frames: int, dtype: DTypeLike = float) -> Float[Array, " T"]:
        """Factor of each frame by which the stage multiplies the rate of a scene at rest, (T,); one by default."""
        return jnp.ones(frames, dtype)


class RateStage(Stage):
    """A stage that acts within each frame on the rate in units of the open beam: scatter, veiling glare, a PSF."""

    @abstractmethod
    def __call__(self, rate: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The rate after the stage, dimensionless, of the shape of ``rate``."""


class CountStage(Stage):
    """A stage that acts on the expected counts, in quanta per pixel and frame: a dark signal, an offset."""

    @abstractmethod
    def __call__(self, counts: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The expected counts after the stage, quanta, of the shape of ``counts``."""


def product(first: Float[Array, "T T"], second: Float[Array, "T T"]) -> Float[Array, "T T"]:
    """Matrix product in full precision: the TF32 default of recent GPUs would keep three digits."""
    return jnp.matmul(first, second, precision=Precision.HIGHEST)
