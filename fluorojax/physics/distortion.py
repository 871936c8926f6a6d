"""D, part 5: geometric distortion of an image intensifier."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.stage import RateStage


class Distortion(RateStage):
    """The image of an undistorted scene on a detector that bends it: pincushion, S, and what else a smooth map holds.

    A pixel of the detector shows the scene at another place. With v and u the row and column from the centre of the
    field over half of its larger side, the place is ``(v + P_rows(v, u), u + P_columns(v, u))``, both polynomials of
    total degree n whose coefficients belong to ``v^i u^j`` in the order of :func:`powers`. The rate there is
    interpolated linearly between four pixels; outside of the scene its border continues. The flat field of the
    detector is taken to be corrected, so that an open beam stays uniform. x is that of the undistorted scene, and the
    counts are never resampled.
    """

    name: ClassVar[str] = "distortion"

    rows: tuple[float, ...] = eqx.field(static=True, converter=lambda values: tuple(float(v) for v in values))
    """Coefficients of P_rows, halves of the larger side."""
    columns: tuple[float, ...] = eqx.field(static=True, converter=lambda values: tuple(float(v) for v in values))
    """Coefficients of P_columns."""

    def __check_init__(self):
        known = [len(powers(degree)) for degree in range(8)]
        for name in ("rows", "columns"):
            values = getattr(self, name)
            if len(values) not in known or not np.isfinite(values).all():
                raise ValueError(
                    f"{name} holds {len(values)} values; expected finite coefficients of a whole polynomial, as "
                    f"many as {', '.join(map(str, known))}"
                )

    def __call__(self, rate: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The rate as the detector shows it."""
        down, across = (jnp.asarray(part, rate.dtype) for part in self.places(rate.shape[1:]))
        return jax.vmap(lambda frame: map_coordinates(frame, [down, across], order=1, mode="nearest"))(rate)

    def places(self, shape: tuple[int, ...]) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
        """Row and column of the scene that every pixel of a detector of ``shape`` shows, pixels."""
        half = 0.5 * max(shape)
        centre = [0.5 * (size - 1) for size in shape]
        v, u = ((index - middle) / half for index, middle in zip(np.indices(shape), centre, strict=True))
        shifts = (_polynomial(values, v, u) for values in (self.rows, self.columns))
        found = (half * (axis + shift) + middle for axis, shift, middle in zip((v, u), shifts, centre, strict=True))
        return next(found), next(found)

    def largest_shift(self, shape: tuple[int, ...]) -> float:
        """Largest distance between a pixel of a detector of ``shape`` and the place that it shows, pixels."""
        shifts = (place - index for place, index in zip(self.places(shape), np.indices(shape), strict=True))
        return float(np.hypot(*shifts).max())

    @classmethod
    def of_intensifier(cls, pincushion: float = 0.0, swirl: float = 0.0) -> "Distortion":
        """Pincushion and S distortion: the place at distance r from the centre lies at ``r·(1 − pincushion·r²)`` and is
        turned by ``swirl·r²`` radians, r in halves of the larger side."""
        index = {pair: k for k, pair in enumerate(powers(3))}
        rows, columns = np.zeros(len(index)), np.zeros(len(index))
        for i, j in ((2, 0), (0, 2)):
            rows[index[i + 1, j]] -= pincushion
            rows[index[i, j + 1]] += swirl
            columns[index[i, j + 1]] -= pincushion
            columns[index[i + 1, j]] -= swirl
        return cls(tuple(rows), tuple(columns))


def powers(degree: int) -> list[tuple[int, int]]:
    """The pairs (i, j) with i + j at most ``degree``, by total degree and then by i."""
    return [(i, total - i) for total in range(degree + 1) for i in range(total + 1)]


def _polynomial(values: tuple[float, ...], v: np.ndarray, u: np.ndarray) -> np.ndarray:
    degree = next(degree for degree in range(8) if len(powers(degree)) == len(values))
    terms = zip(values, powers(degree), strict=True)
    return sum((value * v**i * u**j for value, (i, j) in terms), np.zeros_like(v))
