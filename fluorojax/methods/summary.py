"""What a batched method returns for one scene, on the device."""

from collections.abc import Mapping

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from fluorojax.data.reconstruction import Status
from fluorojax.engines.marginal import LaplaceMarginal


class Summary(eqx.Module):
    """Posterior of one scene as every batched method reports it; every field gains a leading axis under ``vmap``."""

    x: Float[Array, "*shape"]
    """Point estimate of the normalised attenuation: the mode (map) or the posterior mean."""
    noise_variance: Float[Array, "*shape"]
    """Posterior variance of x at a given spec: photon noise and prior."""
    spec_variance: Float[Array, "parameters *shape"]
    """Variance of x from the uncertainty of each spec parameter, in the order of the ranges of the scene."""
    correlation: Float[Array, "parameters *shape"]
    """Posterior correlation of each spec parameter with x."""
    spec_information: Float[Array, "parameters parameters"] | None
    """Fisher information about the spec parameters at the mode, per posterior standard deviation; None where the method
    does not compute it."""
    converged: Bool[Array, ""]
    stalled: Bool[Array, ""]
    diverged: Bool[Array, ""]
    facts: dict[str, Array]
    """Scalars for the diagnostics of the result."""
    spec_posterior: LaplaceMarginal | None = None
    """Of the spec parameters alone, where the method infers them itself; None where they were given."""

    @property
    def status(self) -> Status:
        """How the run ended (unbatched results only)."""
        if self.diverged:
            return Status.DIVERGED
        if self.converged:
            return Status.CONVERGED
        return Status.STALLED if self.stalled else Status.ITERATION_LIMIT


def scalar_facts(facts: Mapping[str, ArrayLike]) -> dict[str, float | int]:
    """Facts of one scene as plain numbers, for JSON."""
    return {name: value.item() for name, value in ((n, np.asarray(v)) for n, v in facts.items())}
