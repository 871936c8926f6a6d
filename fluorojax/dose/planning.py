"""From a reconstruction to the dose per frame, or the frame rate, that a wanted standard deviation takes.

The variance of x in a region has two parts: photon noise and prior, which depends on the dose, and the unknown imaging
chain, which is taken as it is. At fixed spec the posterior precision is ``D·F + P``, with F the information of the
counts at the present dose, P that of the prior and D the factor of the dose. The variance ``v(D)`` therefore falls
more slowly than 1/D: where the prior decides, more dose changes little. Over a few doublings it follows ``v(D) =
v(1)·D^−α`` with an exponent α between 0 (prior alone) and 1 (counts alone) that depends on method and scene;
:data:`EXPONENTS` holds measured ones, and :func:`check_plan` measures it for the scene at hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status

if TYPE_CHECKING:
    from fluorojax.data.scene import Scene
    from fluorojax.runs.progress import Progress

EXPONENTS: dict[str, tuple[float, float, float]] = {
    "map": (0.5, 0.67, 0.8),
}
"""Exponent α by method: low, value, high, over simulated chest scenes from 375 to 6000 quanta."""
OTHER_METHODS = (0.3, 0.6, 1.0)
"""Exponent of methods for which none was measured."""
FARTHEST = 16.0
"""Factor of the dose, up or down, over which the exponents were measured."""


class UnreachableError(ValueError):
    """No dose reaches the wanted standard deviation."""


@dataclass(frozen=True)
class Region:
    """Part of the images: rows and columns, and frames, each (first, past the last); None: all frames."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    frames: tuple[int, int] | None = None

    def cut(self, images: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*part"]:
        """The region of images (T, H, W) or (H, W); raises ``ValueError`` where it does not lie inside."""
        height, width = images.shape[-2:]
        wanted = [("rows", self.rows, height), ("columns", self.columns, width)]
        if images.ndim == 3 and self.frames is not None:
            wanted.append(("frames", self.frames, images.shape[0]))
        elif self.frames is not None and self.frames != (0, 1):
            raise ValueError(f"frames are {self.frames[0]}:{self.frames[1]}; expected 0:1 for a single frame")
        for what, (first, last), size in wanted:
            if not 0 <= first < last <= size:
                raise ValueError(f"the region has {what} {first}:{last}; expected a range within 0:{size}")
        part = images[..., slice(*self.rows), slice(*self.columns)]
        return part[slice(*self.frames)] if images.ndim == 3 and self.frames is not None else part


@dataclass(frozen=True)
class DosePlan:
    """What a wanted standard deviation in a region takes. Standard deviations are root mean squares over the region's
    pixels, in the unit of x."""

    scene: str
    region: Region
    target: float
    sd: float
    """Present standard deviation."""
    noise_sd: float
    """The part of photon noise and prior."""
    chain_sd: float
    """The part of the unknown imaging chain; it is taken as independent of the dose, and falls with it if at all."""
    exponent: tuple[float, float, float]
    """Exponent α: low, value, high."""
    factor: float
    """Factor of the dose per frame at the central exponent."""
    factor_range: tuple[float, float]
    """The same at the ends of the exponent's range."""
    photons_per_pixel: float | None = None
    """Quanta per pixel and frame in the open beam, present; None where the file does not say."""
    frames_per_second: float | None = None
    shortest_frame_ms: float | None = None
    """The exposure window at the upper end of its range: a frame cannot be shorter."""

    @property
    def planned_photons(self) -> float | None:
        """Quanta per pixel and frame in the open beam that the plan asks for."""
        return None if self.photons_per_pixel is None else self.photons_per_pixel * self.factor

    @property
    def planned_frames_per_second(self) -> float | None:
        """Frame rate that brings the same dose at the present dose per frame; None where frames would be shorter than
        the exposure window, or the rate is not known.

        Equivalent only where the region stands still from frame to frame, because the noise is then averaged over more
        frames of the same picture.
        """
        if self.frames_per_second is None:
            return None
        rate = self.frames_per_second * self.factor
        if self.shortest_frame_ms is not None and 1000.0 / rate < self.shortest_frame_ms:
            return None
        return rate

    @property
    def extrapolated(self) -> bool:
        """Whether the dose changes by more than the exponents were measured over."""
        return not 1 / FARTHEST <= self.factor <= FARTHEST


def plan_dose(
    result: Reconstruction,
    region: Region,
    target: float,
    *,
    method: str = "map",
    exponent: Sequence[float] | None = None,
) -> DosePlan:
    """The dose per frame with which the standard deviation in a region would be ``target``.

    **Arguments:** ``result`` with ``x_std`` and the correlations of the spec with x; ``target`` in the unit of x;
    ``method`` that made the result; ``exponent`` low, value and high of α in place of the measured ones.

    **Raises** :class:`UnreachableError` where the unknown imaging chain alone is above the target, and ``ValueError``
    for a result without the two parts of its variance, one that diverged or shows the prior only, and bad arguments.
    """
    if not (math.isfinite(target) and target > 0):
        raise ValueError(f"the wanted standard deviation is {target:g}; expected a positive number")
    low, value, high = EXPONENTS.get(method, OTHER_METHODS) if exponent is None else exponent
    if not 0 < low <= value <= high <= 2:
        raise ValueError(f"the exponent is {low:g}, {value:g}, {high:g}; expected 0 < low ≤ value ≤ high ≤ 2")
    if result.status in (Status.DIVERGED, Status.PRIOR_ONLY):
        raise ValueError(f"{result.name} cannot be planned with: {result.status.value}")
    if result.x_std is None:
        raise ValueError(f"{result.name} has no x_std; expected a method with error bars, such as map")
    if result.times_ms is not None:
        raise ValueError(f"{result.name} has images between the frames; expected a reconstruction of the frames alone")
    if result.noise_std is None:
        raise ValueError(
            f"{result.name} has no spec_correlation, so that noise and imaging chain cannot be told apart; expected a "
            "method that writes it, such as map or learned"
        )
    sd, noise = (root_mean_square(region.cut(part)) for part in (result.x_std, result.noise_std))
    if not (math.isfinite(sd) and sd > 0 and noise > 0):
        raise ValueError(f"{result.name} has no positive, finite standard deviation in the region")
    chain = math.sqrt(max(sd**2 - noise**2, 0.0))
    left = target**2 - chain**2
    if left <= 0:
        raise UnreachableError(
            f"{result.name}: no dose reaches a standard deviation of {target:.3g} in this region: the unknown imaging "
            f"chain alone leaves {chain:.3g}; a calibration of the chain, not dose, would help"
        )
    ratio = noise**2 / left
    ends = sorted(_power(ratio, 1 / a) for a in (low, high))
    window = None
    pulse, blur = result.nominal.get("pulse_width_ms"), result.prior_ranges.get("motion_blur", (0.0, 0.0))
    if pulse is not None:
        window = pulse + max(blur[1], 0.0)
    period = result.nominal.get("frame_time_ms")
    return DosePlan(
        scene=result.name,
        region=region,
        target=target,
        sd=sd,
        noise_sd=noise,
        chain_sd=chain,
        exponent=(low, value, high),
        factor=_power(ratio, 1 / value),
        factor_range=(ends[0], ends[1]),
        photons_per_pixel=result.nominal.get("photons_per_pixel"),
        frames_per_second=None if not period else 1000.0 / period,
        shortest_frame_ms=window,
    )


def predicted_sd(plan: DosePlan, factor: float) -> float:
    """Standard deviation in the plan's region at ``factor`` times the present dose, by its central exponent."""
    return math.sqrt(plan.noise_sd**2 * factor ** -plan.exponent[1] + plan.chain_sd**2)


@dataclass(frozen=True)
class PlanCheck:
    """What a reconstruction at the planned dose reached. Standard deviations as in :class:`DosePlan`."""

    kind: str
    """``thinned``: the measured counts, thinned to the planned dose, which is exact; ``simulated``: counts drawn from
    x_hat at the present and at the planned dose."""
    sd_present: float
    """Standard deviation at the present dose: of the file, or of the simulation."""
    sd_planned: float
    """Standard deviation at the planned dose."""
    reached: float
    """Standard deviation of the file times ``sd_planned / sd_present``: what the plan reaches. A simulation from x_hat
    is smoother than the scene, and the ratio takes out what that does to both."""
    error: float | None
    """Root mean square of the true error in the region at the planned dose, against the x_hat that was simulated; None
    for thinned counts, whose truth is not known."""
    exponent: float | None
    """Exponent α between the two doses; None where they are too close to tell."""
    factor: float | None
    """Factor of the dose that this exponent asks for; None where it cannot be told."""


def check_plan(
    plan: DosePlan,
    result: Reconstruction,
    options: ReconstructOptions,
    *,
    scene: "Scene | None" = None,
    seed: int = 0,
    progress: "Progress | None" = None,
) -> PlanCheck:
    """Reconstruct counts at the planned dose, by the same method, and report the standard deviation that is reached.

    **Arguments:** ``options`` of the run that made ``result``; ``scene`` the measured counts, where they are at hand:
    a plan with less dose is then checked by thinning them (each quantum is kept with the probability of the factor),
    which gives exactly the counts of that dose. More dose cannot be had from counts: it is simulated from ``x_hat`` and
    the corrected spec, as is less dose without ``scene``. ``seed`` of the draws.

    **Raises** ``ValueError`` where the imaging chain of the result is not known: it has parameters of its own, and no
    ``scene`` is given.
    """
    from fluorojax.runs.batches import reconstruct_scenes

    thin = scene is not None and plan.factor < 1 and _are_quanta(scene)
    rng = np.random.default_rng([seed, 16])
    if thin:
        assert scene is not None
        counts = rng.binomial(scene.y.astype(np.int64), plan.factor).astype(np.float32)
        scenes = [_at_dose(replace(scene, y=counts, name="planned"), plan.factor)]
    else:
        model = _model_scene(result, scene, options)
        scenes = [
            _simulated(_at_dose(replace(model, name=name), factor), result, rng)
            for name, factor in (("present", 1.0), ("planned", plan.factor))
        ]
    results = {one.name: one for one in reconstruct_scenes(scenes, options, progress=progress)}
    planned, present = results["planned"], results.get("present", result)
    sds = [_parts(one, plan.region) for one in (present, planned)]
    (sd_present, noise_present), (sd_planned, noise_planned) = sds
    exponent = factor = None
    if abs(math.log(plan.factor)) > math.log(1.2):
        exponent = -2.0 * math.log(noise_planned / noise_present) / math.log(plan.factor)
        if exponent > 0.05:
            factor = _power(plan.noise_sd**2 / (plan.target**2 - plan.chain_sd**2), 1 / exponent)
    error = None
    if not thin:
        error = root_mean_square(plan.region.cut(planned.x_hat - result.x_hat))
    return PlanCheck(
        kind="thinned" if thin else "simulated",
        sd_present=sd_present,
        sd_planned=sd_planned,
        reached=plan.sd * sd_planned / sd_present,
        error=error,
        exponent=exponent,
        factor=factor,
    )


def root_mean_square(values: Float[np.ndarray, "*shape"]) -> float:
    """Root mean square over all values."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _parts(result: Reconstruction, region: Region) -> tuple[float, float]:
    if result.x_std is None or result.noise_std is None:
        raise ValueError("the method of the check gives no standard deviations; expected one that does, such as map")
    return root_mean_square(region.cut(result.x_std)), root_mean_square(region.cut(result.noise_std))


def _power(base: float, exponent: float) -> float:
    """A power that does not overflow: beyond 10^±30 a dose is as good as unreachable or nothing."""
    return math.exp(min(max(exponent * math.log(base), -69.0), 69.0))


def _model_scene(result: Reconstruction, scene: "Scene | None", options: ReconstructOptions) -> "Scene":
    """A scene with the protocol, ranges and imaging chain of a result, and its x_hat as truth."""
    from fluorojax.data.acquisition import Acquisition
    from fluorojax.data.scene import Scene
    from fluorojax.data.spec import PUBLISHED, SpecRanges

    if scene is not None:
        return replace(scene, x_true=result.x_hat, true_spec=result.spec)
    if result.parameters != PUBLISHED:
        raise ValueError(
            f"{result.name} has an imaging chain with parameters of its own, which the reconstruction file does not "
            "describe; expected the file of scenes beside it"
        )
    if not result.nominal or not result.prior_ranges:
        raise ValueError(f"{result.name} records no protocol; expected the file of scenes beside it")
    return Scene(
        name=result.name,
        y=np.zeros_like(result.x_hat),
        acquisition=Acquisition.from_dict(result.nominal),
        ranges=SpecRanges.from_dict(result.prior_ranges),
        x_true=result.x_hat,
        true_spec=result.spec,
    )


def _are_quanta(scene: "Scene") -> bool:
    """Whether the counts can be thinned: whole numbers, without electronic noise."""
    return scene.acquisition.as_dict()["electronic_noise"] == 0 and bool((scene.y == np.round(scene.y)).all())


def _at_dose(scene: "Scene", factor: float) -> "Scene":
    from fluorojax.data.acquisition import Acquisition

    values = scene.acquisition.as_dict()
    values["photons_per_pixel"] *= factor
    return replace(scene, acquisition=Acquisition.from_dict(values))


def _simulated(scene: "Scene", result: Reconstruction, rng: np.random.Generator) -> "Scene":
    """The scene with counts drawn from x_hat through the imaging chain at the corrected spec."""
    import jax.numpy as jnp

    from fluorojax.simulation.imaging_chain import count

    rate = np.asarray(scene.operator(jnp.asarray(result.x_hat), result.spec, scene.acquisition), np.float64)
    return replace(scene, y=count(rng, np.maximum(rate, 0.0), scene.acquisition.as_dict()["electronic_noise"]))
