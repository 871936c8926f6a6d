"""What figures take from a result of any engine. An error in one line says what a result lacks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec

if TYPE_CHECKING:
    from fluorojax.engines.nuts import NutsResult

Result: TypeAlias = "Reconstruction | NutsResult"


@dataclass(frozen=True)
class Estimate:
    """Posterior of the image sequence. Every array has the shape (T, H, W); a single frame has T = 1."""

    name: str
    """Name of the scene, or of the model where the result names no scene."""
    x: Float[np.ndarray, "T H W"]
    std: Float[np.ndarray, "T H W"] | None
    quantiles: tuple[Float[np.ndarray, "T H W"], Float[np.ndarray, "T H W"]] | None = None
    """The 5 % and 95 % quantiles, where the result has them."""

    def spread(self) -> Float[np.ndarray, "T H W"]:
        """The standard deviation. Raises ``ValueError`` where the result has none."""
        if self.std is None:
            raise ValueError(f"{self.name}: x_std: missing; expected a result with standard deviations")
        return self.std

    def band(self, z: float) -> tuple[Float[np.ndarray, "T H W"], Float[np.ndarray, "T H W"]]:
        """Lower and upper edge of the band of ``z`` standard deviations around x: ``x ∓ z·σ``."""
        return self.x - z * self.spread(), self.x + z * self.spread()


def estimate_of(result: Result) -> Estimate:
    """The image posterior of a result. Raises ``ValueError`` where the result must not be used."""
    if isinstance(result, Reconstruction):
        if result.status is Status.DIVERGED:
            raise ValueError(f"{result.name}: diverged; its result must not be used")
        name, x, std, quantiles = result.name, result.x_hat, result.x_std, result.x_quantiles
    else:
        name, x, std, quantiles = result.model, result.x_mean, np.sqrt(result.x_variance), result.x_quantiles
    ends = None if quantiles is None else (sequence(quantiles[0]), sequence(quantiles[-1]))
    estimate = Estimate(name, sequence(x), None if std is None else sequence(std), ends)
    if not np.isfinite(estimate.x).all():
        raise ValueError(f"{estimate.name}: x_hat: holds values that are not finite and must not be used")
    return estimate


def spec_of(result: Result) -> Spec:
    """Posterior median of the parameters of the imaging chain."""
    if isinstance(result, Reconstruction):
        return result.spec
    medians = np.median(result.spec_draws, axis=(0, 1))
    return Spec.from_dict({name: float(value) for name, value in zip(result.spec_names, medians, strict=True)})


def spec_draws(result: Result, name: str) -> Float[np.ndarray, "n"] | None:
    """Draws of one parameter from all Markov chains, in its unit; None where the result has no draws."""
    if isinstance(result, Reconstruction):
        draws = result.draws.get(name)
    else:
        draws = result.spec_draws[..., result.spec_names.index(name)]
    return None if draws is None or draws.size == 0 else draws.ravel()


def true_images(scene: Scene, like: Estimate) -> Float[np.ndarray, "T H W"]:
    """The truth of a scene. Raises ``ValueError`` where it is missing or has another shape than the estimate."""
    if scene.x_true is None:
        raise ValueError(f"{scene.name}: x_true: missing; expected a scene whose truth is known")
    return matching(scene.x_true, scene.name, "x_true", like)


def matching(values: Float[np.ndarray, "*shape"], name: str, field: str, like: Estimate) -> np.ndarray:
    """``values`` as a sequence. Raises ``ValueError`` where their shape is not that of the estimate."""
    stack = sequence(values)
    if stack.shape != like.x.shape:
        raise ValueError(f"{name}: {field}: has shape {stack.shape}; expected {like.x.shape}, like the result")
    return stack


def sequence(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "T H W"]:
    """The values as a sequence: a single frame becomes a sequence of one."""
    return values if values.ndim == 3 else values[None]


def frame_index(frame: int, like: Estimate) -> int:
    """The index of a frame, which may be counted from the end by a negative number.

    Raises ``ValueError`` where there is no such frame.
    """
    count = len(like.x)
    if not -count <= frame < count:
        raise ValueError(f"frame is {frame}; expected one of 0 … {count - 1}")
    return frame % count
