"""One measured sequence with everything that is known about it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator


@dataclass(frozen=True)
class Scene:
    """A scene on the host (NumPy), as :mod:`fluorojax.io` reads and the simulator makes it.

    Raises ``ValueError`` where a field is of another type, and where ``ranges`` name a parameter that no stage of
    ``operator`` declares. A parameter without a range takes the one that its stage declares, and the ranges follow the
    order of the operator.
    """

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
    """True values of the unknown parameters, where public."""
    operator: FluoroscopyOperator = PUBLISHED_OPERATOR
    """The imaging chain that made the counts; by default that of the published task."""

    def __post_init__(self) -> None:
        expected = {"acquisition": Acquisition, "ranges": SpecRanges, "operator": FluoroscopyOperator, "metadata": dict}
        for name, kind in expected.items():
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"{name} of a scene is {type(value).__name__}; expected {kind.__name__}")
        bounds = np.shape(self.ranges.low), np.shape(self.ranges.high)
        if bounds != (shape := (len(self.ranges.names),),) * 2:
            raise ValueError(f"ranges have bounds of shapes {bounds[0]} and {bounds[1]}; expected {shape}, one each")
        object.__setattr__(self, "ranges", self.ranges.completed(self.operator.parameters))
