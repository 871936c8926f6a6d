"""D, part 2: scattered radiation."""

from typing import ClassVar, Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Parameter, Spec
from fluorojax.physics.scalars import scalar
from fluorojax.physics.stage import RateStage

Unknown = Literal["nothing", "share", "kernel", "everything"]
"""What a stage that spreads quanta over the field does not know of itself: their share, where they go, or both."""

SCATTER_RATIO = Parameter("scatter_ratio", "", 0.0, 1.0, "scatter-to-primary ratio", nominal=0.4)
"""Scattered over primary quanta of the whole field, S/P. The default is that of a chest with an anti-scatter grid."""
SCATTER_WIDTH = Parameter("scatter_width", "of the field", 0.1, 0.5, "width of the scatter kernel", nominal=0.25)
"""Scale of the kernel as a share of the larger side of the field."""
SCATTER_TAIL = Parameter("scatter_tail", "", 0.0, 1.0, "share of the long tail in the scatter kernel", nominal=0.5)
"""Family of the kernel: 0 is a Gaussian, 1 the Poisson kernel of a half-space, and between them lie their mixtures."""

# Modes that a kernel of unknown width is given: as many as one of this width has.
_LEAST_WIDTH = 0.05


class Scatter(RateStage):
    """Scatter as a ratio S/P times the primary, blurred by a very wide kernel.

    The ratio is ``f/(1−f)``, f = S/(S+P) the scattered share of the detected quanta of the whole field. The blur
    reflects at the borders and conserves the total, so f is met exactly. Under reflection a blur is diagonal in the
    cosine basis (DCT-II). With ω = πk/N for mode k of N pixels and σ the width, a Gaussian has the factor
    ``exp(−½σ²ω²)``, and the Poisson kernel ``σ/(2π)·(r² + σ²)^{−3/2}``, whose tail is long, ``exp(−σω)``. Only
    the lowest few modes of a wide blur survive: some ten numbers per axis describe the scatter, whatever the image
    size.

    Ratio and kernel may be unknown parameters (:attr:`unknown`).
    """

    name: ClassVar[str] = "scatter"

    width: float = eqx.field(static=True, default=0.25)
    """Scale σ of the blur as a share of the larger side of the field. Static: sets the number of modes."""
    tail: float = eqx.field(static=True, default=0.0)
    """Share of the Poisson kernel in the blur, 0 to 1; the rest is the Gaussian."""
    unknown: Unknown = eqx.field(static=True, default="nothing")
    """What is inferred: nothing (the share is that of the protocol), the share (:data:`SCATTER_RATIO`), the kernel
    (:data:`SCATTER_WIDTH`, :data:`SCATTER_TAIL`), or everything. What is inferred takes the place of what protocol and
    stage state."""

    def __check_init__(self):
        if not (np.isfinite(self.width) and self.width > 0):
            raise ValueError(f"width is {self.width}; expected a positive share of the field")
        if not 0 <= self.tail <= 1:
            raise ValueError(f"tail is {self.tail}; expected a share between 0 and 1")
        check_unknown(self.unknown)

    @property
    def parameters(self) -> tuple[Parameter, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The parameters that :attr:`unknown` names."""
        return which(self.unknown, (SCATTER_RATIO,), (SCATTER_WIDTH, SCATTER_TAIL))

    def __call__(self, rate: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The rate plus its scatter."""
        width, tail = self.width, self.tail
        if SCATTER_WIDTH in self.parameters:
            width = scalar("scatter_width", spec.value(SCATTER_WIDTH), rate.dtype)
            tail = scalar("scatter_tail", spec.value(SCATTER_TAIL), rate.dtype)
        if SCATTER_RATIO in self.parameters:
            ratio = scalar("scatter_ratio", spec.value(SCATTER_RATIO), rate.dtype)
        else:
            ratio = _ratio(acquisition.scatter_fraction, rate.dtype)
        return rate + ratio * _blurred(rate, width, tail)

    def with_scatter(
        self, primary: Float[Array, "*frames H W"], scatter_fraction: Float[ArrayLike, ""]
    ) -> Float[Array, "*frames H W"]:
        """Primary plus scatter, in the unit of ``primary``. **Arguments:** ``scatter_fraction`` f in [0, 1)."""
        return primary + _ratio(scatter_fraction, primary.dtype) * self.blur(primary)

    def blur(self, image: Float[Array, "*frames H W"]) -> Float[Array, "*frames H W"]:
        """The wide blur of the stated kernel alone; linear, self-adjoint, and it conserves the sum over the field."""
        return _blurred(image, self.width, self.tail)

    def known(self, spec: Spec, acquisition: Acquisition) -> tuple["Scatter", float]:
        """The stage with the kernel of ``spec``, and the scattered share f: nothing is unknown any more (host only)."""
        values = {p.name: float(np.asarray(spec.value(p))) for p in self.parameters}
        stage = Scatter(values.get("scatter_width", self.width), values.get("scatter_tail", self.tail))
        ratio = values.get("scatter_ratio")
        return stage, acquisition.as_dict()["scatter_fraction"] if ratio is None else ratio / (1.0 + ratio)


def which(unknown: Unknown, share: tuple[Parameter, ...], kernel: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """The parameters of a share and of a kernel that ``unknown`` names."""
    return (share if unknown in ("share", "everything") else ()) + (
        kernel if unknown in ("kernel", "everything") else ()
    )


def check_unknown(unknown: str) -> None:
    """Raise ``ValueError`` for a word that is no :data:`Unknown`."""
    if unknown not in get_args(Unknown):
        raise ValueError(f"unknown is {unknown!r}; expected one of {', '.join(get_args(Unknown))}")


def _ratio(scatter_fraction: Float[ArrayLike, ""], dtype: DTypeLike) -> Float[Array, ""]:
    f = scalar("scatter_fraction", scatter_fraction, dtype)
    return f / (1 - f)


def _blurred(
    image: Float[Array, "*frames H W"], width: float | Float[Array, ""], tail: float | Float[Array, ""]
) -> Float[Array, "*frames H W"]:
    """The blur of one kernel; ``width`` may be traced, and then has the modes of the least width."""
    height, breadth = image.shape[-2:]
    larger = max(height, breadth)
    stated = isinstance(width, float | int)
    least = (width if stated else _LEAST_WIDTH) * larger
    rows, columns = (_cosine_modes(size, least, image.dtype) for size in (height, breadth))
    down, across = (np.pi * np.arange(len(modes)) / size for modes, size in ((rows, height), (columns, breadth)))
    sigma = width * larger
    if stated and isinstance(tail, float | int):
        factor = _transfer(np, down, across, sigma, tail).astype(image.dtype)
    else:
        factor = _transfer(jnp, down.astype(image.dtype), across.astype(image.dtype), sigma, tail)
    low = factor * jnp.einsum("ka,...ab,lb->...kl", rows, image, columns, precision=Precision.HIGHEST)
    return jnp.einsum("ka,...kl,lb->...ab", rows, low, columns, precision=Precision.HIGHEST)


def _transfer(xp, down, across, sigma, tail):
    """Factors of the modes, by NumPy where all is stated, by JAX where a parameter is traced."""
    squared = (sigma * down[:, None]) ** 2 + (sigma * across) ** 2
    # A derivative of the root at the constant mode would not be finite; its factor is one whatever the width.
    root = xp.sqrt(xp.maximum(squared, 1e-12))
    return (1 - tail) * xp.exp(-0.5 * squared) + tail * xp.where(squared > 0, xp.exp(-root), 1.0)


def _cosine_modes(size: int, sigma: float, dtype) -> np.ndarray:
    """Orthonormal DCT-II modes (K, size), up to that whose factor in a Gaussian of ``sigma`` is 1e-9."""
    cutoff = np.sqrt(2 * np.log(1e9)) * size / (np.pi * sigma)
    k = np.arange(min(size, int(np.ceil(cutoff)) + 1))[:, None]
    modes = np.sqrt(np.where(k == 0, 1, 2) / size) * np.cos(np.pi * k * (np.arange(size) + 0.5) / size)
    return modes.astype(dtype)
