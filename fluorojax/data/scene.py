"""One measured sequence with everything that is known about it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec, SpecRanges


@dataclass(frozen=True)
class Scene:
    """A scene of a challenge file, on the host (NumPy), as :mod:`fluorojax.io` reads and the simulator makes it."""

    name: str
    """Group name in the file, e.g. ``sample_00``."""
    y: Float[np.ndarray, "*shape"]
    """Counts, float32, shape (T, H, W) or (H, W)."""
    acquisition: Acquisition
    ranges: SpecRanges
    metadata: dict[str, Any] = field(default_factory=dict)
    x_true: Float[np.ndarray, "*shape"] | None = None
    """True normalised attenuation at the frame times, where public."""
    true_spec: Spec | None = None
