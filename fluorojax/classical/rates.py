"""From denoised rates to attenuation: the gain of the assumed imaging chain is divided out, its lag and window are not.

It would be possible to undo the lag after the denoiser by solving ``L s = λ`` with the lag matrix L. This was measured
on the tuning scenes (``benchmarks/tune_classical.py``), with L of the *true* imaging chain. It lost 0.00 to 0.13 dB
with every method: the inversion amplifies the noise that the denoiser leaves, and this costs more than the removal of
the 3.6 % ghost of a moving edge gains.
"""

import numpy as np
from jaxtyping import Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.operator import FluoroscopyOperator


def gains(operator: FluoroscopyOperator, spec: Spec | None, frames: int) -> Float[np.ndarray, "T 1 1"]:
    """Gain of each frame of the assumed imaging chain; that of the nominal protocol where ``spec`` is None."""
    assumed = Spec.nominal(operator.parameters) if spec is None else spec
    return np.asarray(operator.gains(assumed, frames), np.float32)[:, None, None]


def attenuation(signal: Float[np.ndarray, "T H W"], acquisition: Acquisition) -> Float[np.ndarray, "T H W"]:
    """``x = −log(s/I₀)/A`` of a signal s in quanta, clipped to the range [0, 1] that x is known to lie in."""
    protocol = acquisition.as_dict()
    scale, open_beam = protocol["attenuation_scale"], protocol["photons_per_pixel"]
    least = open_beam * np.exp(-scale)
    return (-np.log(np.clip(signal, least, open_beam) / open_beam) / scale).astype(np.float32)


def attenuation_std(
    signal: Float[np.ndarray, "T H W"], variance: Float[np.ndarray, "T H W"], acquisition: Acquisition
) -> Float[np.ndarray, "T H W"]:
    """Standard deviation of x by propagation, ``√V / (A·s)``, s in quanta taken as at least one half."""
    scale = acquisition.as_dict()["attenuation_scale"]
    return (np.sqrt(variance) / (scale * np.maximum(signal, 0.5))).astype(np.float32)
