"""The result of a method for one scene, and the options of a run."""

import enum
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from fluorojax.data.choices import MAX_SEED
from fluorojax.data.choices import SPEC_SOURCES as SPEC_SOURCES
from fluorojax.data.digest import counts_digest
from fluorojax.data.spec import PUBLISHED, Parameter, Spec

if TYPE_CHECKING:
    import xarray

    from fluorojax.data.scene import Scene

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Probabilities of the quantiles of sampled images."""


class Status(enum.Enum):
    """How a run ended; the value is the sentence shown to a user."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "stopped at the iteration limit before reaching the tolerance"
    STALLED = "stopped before the tolerance: the line search found no lower energy in this precision"
    PRIOR_ONLY = (
        "prior only: the counts hold no information about this scene, so that the images and their standard deviations "
        "are those of the model's prior and show nothing of the patient"
    )
    NOT_CONVERGED = "not converged: the Markov chains disagree or hold too few independent draws; more draws may serve"
    DIVERGED = "diverged: the energy or its gradient was not finite at the start; the result must not be used"


@dataclass(frozen=True)
class Reconstruction:
    """Posterior summary of one scene, on the host."""

    name: str
    """Group name of the scene, e.g. ``sample_00``."""
    x_hat: Float[np.ndarray, "*shape"]
    """Point estimate of the normalised attenuation, float32, same shape as the counts."""
    x_std: Float[np.ndarray, "*shape"] | None
    """Posterior standard deviation of ``x`` per pixel, float32, or None where the method gives none."""
    spec: Spec
    """Posterior median of each mismatch parameter (the corrected specification)."""
    spec_std: Spec
    """Posterior standard deviation of the mismatch parameters."""
    spec_interval: dict[str, tuple[float, float]]
    """Central 90 % credible interval of each mismatch parameter."""
    status: Status
    seconds: float
    """Wall time of the run divided by the number of scenes that shared it."""
    diagnostics: dict[str, Any] = field(default_factory=dict)
    """JSON-serialisable facts: energy, iterations, tolerance, identifiability sentences, …"""
    spec_correlation: Float[np.ndarray, "parameters *shape"] | None = None
    """Posterior correlation of each parameter with ``x``, float32, in the order of ``parameters``; None where
    the method gives none."""
    x_quantiles: Float[np.ndarray, "quantiles *shape"] | None = None
    """Posterior quantiles of ``x`` at the probabilities :data:`QUANTILES`, float32; None where the method has none."""
    parameters: tuple[Parameter, ...] = PUBLISHED
    """The unknown parameters of the imaging chain, as its stages declare them."""
    draws: dict[str, Float[np.ndarray, "chains draws *site"]] = field(default_factory=dict)
    """Posterior draws by name: spec parameters, sampled hyperparameters, and ``x`` in some pixels (``x[t, r, c]``)."""
    sample_stats: dict[str, np.ndarray] = field(default_factory=dict)
    """Per Markov chain and draw, under names of ArviZ: lp, energy, acceptance_rate, step_size, n_steps, diverging."""
    nominal: dict[str, float] = field(default_factory=dict)
    """Nominal protocol of the scene, under the names of :class:`~fluorojax.data.acquisition.Acquisition`; empty where
    it is not known, as in files of earlier versions."""
    prior_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Range of the uniform prior of each mismatch parameter, in its unit; empty where it is not known."""
    pixel_mm: float | None = None
    """Distance of two pixels in mm, in the plane in which the file states it; None where it is not known."""
    counts_sha256: str | None = None
    """Digest of the counts that were reconstructed (:func:`fluorojax.data.digest.counts_digest`), by which they are
    recognised in whatever file; None where it is not known, as in files of earlier versions."""
    times_ms: Float[np.ndarray, " n"] | None = None
    """Times of the images, ms from the first frame, float64, where they are not those of the frames; else None."""

    @property
    def frame_time_ms(self) -> float | None:
        """Time from one image to the next in ms; None where it is not known or not always the same."""
        if self.times_ms is None:
            return self.nominal.get("frame_time_ms")
        steps = np.diff(self.times_ms)
        even = steps.size > 0 and np.ptp(steps) <= 1e-6 * steps.max()
        return float(steps.mean()) if even else None

    @property
    def image_times_ms(self) -> Float[np.ndarray, " n"] | None:
        """Time of every image, ms from the first frame, float64; None where it is not known, and of a single frame."""
        period = self.frame_time_ms
        if self.times_ms is not None or period is None or self.x_hat.ndim != 3:
            return self.times_ms
        return period * np.arange(len(self.x_hat))

    def at_frames(self) -> "Reconstruction | None":
        """The images at the times of the frames alone, from the first to the last one; the result itself where it has
        no others. None where the image of a frame is not among them, or the number of frames is not known.
        """
        if self.times_ms is None:
            return self
        period = self.nominal.get("frame_time_ms")
        frames = self.diagnostics.get("between", {}).get("frames")
        if not period or not isinstance(frames, int):
            return None
        index = matching_times(self.times_ms, period * np.arange(frames))
        if (index < 0).any():
            return None
        return self.images(index)

    def images(self, index: Int[np.ndarray, " n"]) -> "Reconstruction":
        """The images of these numbers alone, as frames of a run."""
        return replace(
            self,
            x_hat=self.x_hat[index],
            x_std=None if self.x_std is None else self.x_std[index],
            spec_correlation=None if self.spec_correlation is None else self.spec_correlation[:, index],
            x_quantiles=None if self.x_quantiles is None else self.x_quantiles[:, index],
            times_ms=None,
        )

    @property
    def noise_std(self) -> Float[np.ndarray, "*shape"] | None:
        """The part of ``x_std`` that would remain if the imaging chain were known exactly: photon noise and prior.

        Same shape and unit as ``x_std``; None where the file has no correlations. Computed as ``x_std·√(1 − Σ ρ²)``
        over the correlations ρ of the parameters with x. The formula takes the parameters as uncorrelated with each
        other, as the calibrated ones are.
        """
        if self.x_std is None or self.spec_correlation is None:
            return None
        return self.x_std * np.sqrt(np.maximum(1.0 - np.sum(self.spec_correlation**2, axis=0), 0.0))

    def to_xarray(self) -> "xarray.Dataset":
        """The images and parameters as an xarray dataset; see :func:`fluorojax.data.export.to_xarray`."""
        from fluorojax.data.export import to_xarray

        return to_xarray(self)

    def to_datatree(self, counts: Float[np.ndarray, "*shape"] | None = None) -> "xarray.DataTree":
        """Everything, ready for ArviZ where there are draws; see :func:`fluorojax.data.export.to_datatree`."""
        from fluorojax.data.export import to_datatree

        return to_datatree(self, counts)

    def _repr_html_(self) -> str:
        from fluorojax.reports.preview import preview

        return preview(self)


def matching_times(times: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
    """For each wanted time the number of the one of ``times`` (ascending, ms) that is the same; −1 where there is none.

    Times within a microsecond, or a millionth of the longest, are the same.
    """
    slack = max(1e-3, 1e-6 * float(np.max(np.abs(times), initial=0.0)))
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(times[before] - wanted) < np.abs(times[after] - wanted), before, after)
    return np.where(np.abs(times[nearest] - wanted) <= slack, nearest, -1)


def facts_of(scene: "Scene") -> dict[str, Any]:
    """The fields of a :class:`Reconstruction` that its scene gives: parameters, nominal protocol, prior ranges, pixel
    size, digest of the counts."""
    pixel = scene.metadata.get("pixel_mm")
    if isinstance(pixel, bool) or not isinstance(pixel, int | float) or not 0 < pixel < math.inf:
        pixel = None
    return {
        "nominal": scene.acquisition.as_dict(),
        "parameters": scene.operator.parameters,
        "prior_ranges": scene.ranges.as_dict(),
        "pixel_mm": None if pixel is None else float(pixel),
        "counts_sha256": counts_digest(scene.y),
    }


@dataclass(frozen=True)
class ReconstructOptions:
    """Settings of a reconstruction run; they are written to the output file as provenance."""

    model: str = "sequence"
    """Name of a shipped model or path of a user's model file."""
    method: str = ""
    """Name of a method. Empty: ``learned``, and ``map`` where ``model`` is another one than ``sequence``, because a
    network does not use a model."""
    batch: int | None = None
    """Scenes per vmapped chunk. None: one per device on a CPU, elsewhere as many as fit in 2 GiB per device."""
    seed: int = 0
    """0 ≤ seed < 2⁶³."""
    samples: int = 16
    """Mirrored pairs of posterior draws (mgvi), and probes of the spec where that is joint."""
    chains: int = 4
    """Number of Markov chains (nuts)."""
    warmup: int = 150
    """Warm-up iterations of each Markov chain (nuts)."""
    draws: int = 200
    """Posterior draws of each Markov chain (nuts)."""
    spec: str = "calibrated"
    """``calibrated`` (spec parameters inferred from reduced models), ``joint`` (inferred together with scene and
    prior under the model alone; mgvi, nuts), ``nominal`` (offsets zero) or ``true`` (taken from the file)."""

    weights: str | None = None
    """Weights of the network (learned): name of shipped ones, or path of a ``.npz`` file; None for the default."""

    held_out: float | None = None
    """Share of the quanta that is held out to check the result (:func:`fluorojax.metrics.held_out`), at the cost of one
    more reconstruction; 0 for no check, None for what the method does by itself (0.1 for learned, else no check)."""
    fallback: bool = True
    """Whether scenes that the method does not serve go to its fallback (learned: to map), with a notice."""

    recognise: bool = True
    """Whether a start from dark is looked for in the first frames, and taken into account where it is found, with a
    notice; only where the spec parameters are inferred (``spec`` calibrated or joint)."""

    block_frames: int | None = None
    """Frames that are read and solved at once, what blocks overlap by included (map, learned). None: a run is cut into
    blocks where the whole would take more memory than there is, see :func:`fluorojax.runs.estimate.in_blocks`."""
    times: tuple[float, ...] | None = None
    """Times of the images in ms from the first frame, ascending, within the run (:mod:`fluorojax.between.images`).
    None: those of the frames."""
    to_fps: float | None = None
    """Images per second from the first frame to the last, in place of ``times``."""

    def __post_init__(self) -> None:
        if not self.method:
            object.__setattr__(self, "method", "learned" if self.model == "sequence" else "map")
        if self.block_frames is not None and not (_is_whole(self.block_frames) and self.block_frames >= 1):
            raise ValueError(f"block_frames is {self.block_frames!r}; expected a positive number of frames")
        self._check_times()
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out:g}; expected a share of the quanta from 0 to below 1")
        if not (_is_whole(self.seed) and 0 <= self.seed <= MAX_SEED):
            raise ValueError(f"seed is {self.seed!r}; expected a whole number from 0 to {MAX_SEED}")
        if not (_is_whole(self.samples) and self.samples >= 1):
            raise ValueError(f"samples is {self.samples!r}; expected a positive number of mirrored pairs")
        if self.batch is not None and not (_is_whole(self.batch) and self.batch >= 1):
            raise ValueError(f"batch is {self.batch!r}; expected a positive number of scenes")

    @property
    def between(self) -> bool:
        """Whether images are asked for at other times than those of the frames."""
        return self.times is not None or self.to_fps is not None

    def _check_times(self) -> None:
        if self.to_fps is not None:
            if self.times is not None:
                raise ValueError("times and to_fps are both given; expected one of them")
            if not (_is_number(self.to_fps) and 0 < self.to_fps < math.inf):
                raise ValueError(f"to_fps is {self.to_fps!r}; expected a positive number of images per second")
        if self.times is not None:
            object.__setattr__(self, "times", _checked_times(self.times))
        if self.between and self.block_frames is not None:
            raise ValueError(
                f"block_frames is {self.block_frames} with times between the frames, which need the whole run; "
                "expected one of the two, or a part of the run (--frames)"
            )


def _checked_times(times: Any) -> tuple[float, ...]:
    expected = "expected ascending times in ms from the first frame"
    try:
        found = list(times)
    except TypeError:
        found = [times]
    if isinstance(times, str) or not all(_is_number(time) for time in found):
        raise ValueError(f"times are {str(times)[:60]!r}; {expected}")
    found = [float(time) for time in found]
    if not found:
        raise ValueError(f"times are empty; {expected}")
    for index, time in enumerate(found):
        if not math.isfinite(time):
            raise ValueError(f"times has {time} at position {index}; {expected}, all of them finite")
        if index and time <= found[index - 1]:
            raise ValueError(f"times has {time:g} after {found[index - 1]:g} at position {index}; {expected}")
    return tuple(found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
