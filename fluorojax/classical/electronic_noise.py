"""Classical methods on counts with electronic noise, by the shifted Poisson distribution."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from fluorojax.classical.estimate import ClassicalMethod, Estimate
from fluorojax.classical.rates import attenuation, gains
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator


def with_electronic_noise(
    method: ClassicalMethod,
    y: Float[np.ndarray, "T H W"],
    acquisition: Acquisition,
    spec: Spec | None = None,
    operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
) -> Estimate:
    """The estimate of a classical method, with the electronic noise of the protocol taken into account.

    The methods are made for Poisson counts. With electronic noise of variance σ², ``y + σ²`` counts as Poisson with
    mean λ + σ² (Snyder, Hammoud & White, J. Opt. Soc. Am. A 10:1014, 1993): the method sees these counts, and σ² is
    taken off its signal; standard deviations grow by the ratio of the signals. The shift follows the assumed gain, so
    that a pixel at rest stays at rest. Counts below −σ², which no Poisson count can stand for, enter as zero. A method
    that states ``models_electronic_noise`` sees the counts as they are.

    **Arguments** and errors as of :class:`~fluorojax.classical.estimate.ClassicalMethod`.
    """
    variance = acquisition.as_dict()["electronic_noise"] ** 2
    if variance == 0 or method.models_electronic_noise or y.ndim != 3:
        return method(y, acquisition, spec, operator)
    gain = gains(operator, spec, len(y))
    found = method(np.maximum(y + np.float32(variance) * gain, 0.0), acquisition, spec, operator)
    protocol = acquisition.as_dict()
    shifted = protocol["photons_per_pixel"] * np.exp(-protocol["attenuation_scale"] * found.x_hat.astype(np.float64))
    x_hat = attenuation(shifted - variance, acquisition)
    if found.x_std is None:
        return replace(found, x_hat=x_hat)
    signal = protocol["photons_per_pixel"] * np.exp(-protocol["attenuation_scale"] * x_hat.astype(np.float64))
    return Estimate(x_hat, (found.x_std * np.maximum(shifted / signal, 1.0)).astype(np.float32))
