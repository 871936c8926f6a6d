"""A check of a reconstruction without a truth: does it predict quanta that it has not seen?

Counts are *thinned*: every quantum is kept with probability 1 − f, and else held out. Of Poisson counts the two parts
are independent Poisson counts, with means (1 − f)·λ and f·λ (Kingman, Poisson Processes, 1993, section 5.1). A method
that reconstructs the kept part at its lower dose predicts the held-out part, and whatever the prediction gets wrong
beyond photon noise is an error of the method or of the imaging chain that it was given:

* *bias*: sums of the differences over bright and dark, moving and static pixels, over parts of the run, and along the
  derivative of the rate by each parameter of the imaging chain. For a posterior that is right, the sum over any pattern
  has a variance between that of the held-out quanta and 1/(1 − f) times as much: the kept quanta alone give an
  unbiased estimate that reaches this value, and the posterior mean has no larger error. Tests use the larger variance.
* *size of the intervals*: products of differences of neighbouring pixels against the variances that the method states.
  A pixel says little on its own, because its held-out quanta scatter far more than the reconstruction, but errors of
  neighbours are alike where photon noise is not. How alike they are is taken from the difference of the reconstructions
  from all quanta and from the kept ones.

An error of image and imaging chain that leaves the counts as they are shows in no count, held out or not.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.fft import next_fast_len
from scipy.special import ndtri

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.metrics.interval_coverage import moving_pixels
from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.physics.stage import CountStage

SHARE = 0.1
"""Share of the quanta that is held out unless another is asked for."""
# Chance that one of the bias tests of a right posterior alarms, over all of them.
_ALARM = 0.01
# A bias below this part of the stated standard deviation does no harm: 90 % intervals still cover 89 %.
_MATTERS = 0.25
# Without a standard deviation: a relative bias of the counts that matters.
_MATTERS_COUNTS = 0.005
# Ratios of squared error and stated variance that are no defect, and standard errors that chance does not explain.
_NARROW, _WIDE, _CHANCE = 1.5, 0.6, 3.0
# From here on a result is not to be relied on: a bias in standard deviations, a ratio.
_SEVERE, _FAR_TOO_NARROW = 1.0, 4.0
# Standard error of the ratio from which on it says nothing.
_VAGUE = 0.5
_LEVELS, _PARTS = 4, 4
# Farthest neighbours that count as alike, in frames and pixels; side of the pieces that are worked on, and of those
# whose scatter gives the standard error.
_REACH, _PIECE, _PATCH = 12, 128, 8
_PIECE_FRAMES = 32
_ALL = (0, 1, 2)


def thinned(scene: Scene, share: float, rng: np.random.Generator) -> tuple[Scene, Float[np.ndarray, "*shape"]]:
    """The scene with each quantum kept with probability 1 − ``share``, its open-beam dose lowered alike; and the rest.

    **Raises:** ``ValueError`` in one line for a share outside (0, 1), counts that are not whole numbers (no Poisson
    counts then), or an imaging chain whose counts do not all come from the beam.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"the held-out share is {share:g}; expected a number between 0 and 1")
    counts = np.asarray(scene.y)
    if not (np.isfinite(counts).all() and (counts >= 0).all() and (counts == np.rint(counts)).all()):
        raise ValueError(f"{scene.name}: counts are not whole numbers; expected counts of quanta, which can be divided")
    if added := [stage.name for stage in scene.operator.stages if isinstance(stage, CountStage)]:
        raise ValueError(
            f"{scene.name}: the imaging chain adds counts that do not come from the beam ({', '.join(added)}); "
            "held-out quanta serve chains without such a stage"
        )
    kept = rng.binomial(counts.astype(np.int64), 1.0 - share)
    protocol = scene.acquisition.as_dict()
    lowered = Acquisition.from_dict({**protocol, "photons_per_pixel": (1.0 - share) * protocol["photons_per_pixel"]})
    held = (counts - kept).astype(np.float32)
    return replace(scene, y=kept.astype(np.float32), acquisition=lowered), held


@dataclass(frozen=True)
class Bias:
    """Deviation of the held-out quanta from their prediction along one pattern."""

    name: str
    """A group of pixels or frames in words, or a parameter of the imaging chain."""
    unit: str
    """Unit of ``amount``: ``%`` of the predicted counts, or that of the parameter."""
    amount: float
    """By how much the held-out quanta exceed the prediction, or ask for a larger value of the parameter."""
    z: float
    """The deviation over its largest standard deviation for a right posterior."""
    in_std: float
    """The deviation relative to the stated standard deviations there; NaN where none are stated."""


@dataclass(frozen=True)
class IntervalSize:
    """Squared error over stated variance in one group of pixels, from the held-out quanta."""

    group: str
    """``all``, ``moving`` or ``static``."""
    ratio: float
    """1 where the stated standard deviations are right, 4 where they are half of what they should be."""
    std: float
    """Standard error of ``ratio``."""


@dataclass(frozen=True)
class HeldOut:
    """What the held-out quanta of one scene say about its reconstruction."""

    share: float
    quanta: float
    """Number of held-out quanta."""
    biases: tuple[Bias, ...]
    sizes: tuple[IntervalSize, ...]
    """Empty where the method states no standard deviations."""

    @property
    def threshold(self) -> float:
        """Size of z from which on a bias is not chance: one of all tests alarms with a probability of at most 1 %."""
        return float(-ndtri(0.5 * _ALARM / max(len(self.biases), 1)))

    @property
    def biased(self) -> tuple[Bias, ...]:
        """Deviations that are neither chance nor negligible, the most significant first."""

        def matters(bias: Bias) -> bool:
            if np.isfinite(bias.in_std):
                return abs(bias.in_std) > _MATTERS
            return bias.unit != "%" or abs(bias.amount) > 100 * _MATTERS_COUNTS

        found = [bias for bias in self.biases if abs(bias.z) > self.threshold and matters(bias)]
        return tuple(sorted(found, key=lambda bias: -abs(bias.z)))

    @property
    def narrow(self) -> tuple[IntervalSize, ...]:
        """Groups whose errors are larger than stated."""
        return tuple(s for s in self.sizes if s.ratio > _NARROW and s.ratio - 1.0 > _CHANCE * s.std)

    @property
    def wide(self) -> tuple[IntervalSize, ...]:
        """Groups whose errors are smaller than stated."""
        return tuple(s for s in self.sizes if s.ratio < _WIDE and 1.0 - s.ratio > _CHANCE * s.std)

    @property
    def vague(self) -> bool:
        """Whether there are too few quanta to judge the size of the intervals."""
        return not self.sizes or self.sizes[0].std > _VAGUE

    @property
    def level(self) -> str:
        """``bad``, ``caution``, ``unknown`` (no defect found, and too few quanta to judge intervals), or ``good``."""
        if any(not np.isfinite(b.in_std) or abs(b.in_std) > _SEVERE for b in self.biased):
            return "bad"
        if any(size.ratio > _FAR_TOO_NARROW for size in self.narrow):
            return "bad"
        if self.biased or self.narrow or self.wide:
            return "caution"
        return "unknown" if self.vague and self.sizes else "good"

    def sentence(self) -> str:
        """What the held-out quanta say, in plain sentences."""
        quanta = (
            f"{100 * self.share:g} % of the quanta ({self.quanta:,.0f}) were held out, and the rest predicted them."
        )
        parts = []
        if self.biased:
            worst = self.biased[0]
            also = f", and {len(self.biased) - 1} more" if len(self.biased) > 1 else ""
            parts.append(f"The prediction is biased: {_in_words(worst)}{also}.")
        else:
            parts.append("The prediction shows no bias that matters.")
        if self.narrow:
            worst = max(self.narrow, key=lambda size: size.ratio)
            parts.append(
                f"The stated errors are too small: the squared error of {_pixels(worst)} is {worst.ratio:.1f} ± "
                f"{worst.std:.1f} times what is stated."
            )
        elif self.wide:
            worst = min(self.wide, key=lambda size: size.ratio)
            parts.append(
                f"The stated errors are larger than necessary: the squared error of {_pixels(worst)} is "
                f"{max(worst.ratio, 0.0):.1f} ± {worst.std:.1f} times what is stated."
            )
        elif not self.sizes:
            parts.append("The method states no errors whose size could be checked.")
        elif self.vague:
            parts.append(
                f"The size of the stated errors cannot be judged from so few quanta (squared error over stated "
                f"variance {self.sizes[0].ratio:.1f} ± {self.sizes[0].std:.1f})."
            )
        else:
            parts.append(
                f"The size of the stated errors agrees with it: the squared error is {self.sizes[0].ratio:.2f} ± "
                f"{self.sizes[0].std:.2f} times what is stated."
            )
        return " ".join([quanta, *parts])

    def facts(self) -> dict[str, Any]:
        """Everything as JSON-serialisable values, with the verdict in words."""
        return {
            "level": self.level,
            "verdict": self.sentence(),
            "share": self.share,
            "quanta": self.quanta,
            "biases": [{**vars(b), "in_std": b.in_std if np.isfinite(b.in_std) else None} for b in self.biases],
            "sizes": [dict(vars(size)) for size in self.sizes],
        }


def _in_words(bias: Bias) -> str:
    """A deviation as a clause."""
    size = f", {abs(bias.in_std):.1f} times the stated standard deviation there" if np.isfinite(bias.in_std) else ""
    if bias.unit == "%":
        side = "more" if bias.amount > 0 else "fewer"
        return f"in {bias.name} there are {abs(bias.amount):.2g} % {side} quanta than predicted{size}"
    return f"the held-out quanta ask for a {bias.name} larger by {bias.amount:+.2g} {bias.unit}{size}"


def _pixels(size: IntervalSize) -> str:
    return "all pixels" if size.group == "all" else f"the {size.group} pixels"


def held_out(
    kept: Reconstruction,
    scene: Scene,
    held: Float[np.ndarray, "*shape"],
    whole: Reconstruction,
    share: float,
    *,
    mean: bool,
) -> HeldOut:
    """Test a reconstruction from the kept quanta on the held-out ones.

    **Arguments:**

    - `kept`, `scene`, `held`: the reconstruction of what :func:`thinned` returned, and that.
    - `whole`: the reconstruction from all quanta, whose difference tells how far errors reach.
    - `share`: the held-out share f.
    - `mean`: whether ``x_hat`` is the posterior mean of x. The expected counts then lie above the counts at ``x_hat``,
      by half of the variance of the optical depth.

    **Raises:** ``ValueError`` where the shapes differ or a reconstruction is not finite.
    """
    shape = scene.y.shape
    if not kept.x_hat.shape == whole.x_hat.shape == held.shape == shape:
        raise ValueError(f"x_hat has shape {kept.x_hat.shape}; expected {shape}, like the counts")
    if not (np.isfinite(kept.x_hat).all() and np.isfinite(whole.x_hat).all()):
        raise ValueError(f"{scene.name}: x_hat is not finite; expected a reconstruction that can be used")
    factor = share / (1.0 - share)
    x = jnp.asarray(kept.x_hat, jnp.float32)
    spec = kept.spec
    rate, information, patterns = (
        np.asarray(v) for v in _expected(x, spec.as_array(), spec.names, scene.acquisition, scene.operator)
    )
    spread = kept.noise_std if kept.noise_std is not None else kept.x_std
    tau = None
    if spread is not None:
        # Variance of the counts from that of x, over their photon noise.
        tau = np.asarray(spread, np.float32) * np.sqrt(factor * information)
        if mean:
            depth_std = np.asarray(spread) * np.float32(scene.acquisition.as_dict()["attenuation_scale"])
            rate = rate + 0.5 * depth_std * np.asarray(spread) * np.sqrt(information * rate)
    predicted = np.asarray(factor * rate, np.float32)
    moving = np.broadcast_to(moving_pixels(kept.x_hat), shape)
    biases = [
        *_group_biases(held, predicted, moving, tau, share),
        *_chain_biases(held, predicted, factor * patterns, scene, tau, share),
    ]
    sizes: tuple[IntervalSize, ...] = ()
    if tau is not None and spread is not None:
        z = (held - predicted) / np.sqrt(predicted)
        change = (whole.x_hat - kept.x_hat) / np.maximum(spread, np.finfo(np.float32).tiny)
        sizes = interval_sizes(z, tau, predicted, change, moving)
    return HeldOut(share, float(np.sum(held, dtype=np.float64)), tuple(biases), sizes)


def _bias(
    name: str,
    unit: str,
    scale: float,
    difference: np.ndarray,
    pattern: np.ndarray,
    predicted: np.ndarray,
    tau: np.ndarray | None,
    share: float,
) -> Bias | None:
    """Weighted least squares of the differences on a pattern; None where the pattern is nowhere."""
    weighted = pattern / predicted
    weight = np.asarray(weighted * pattern, np.float64)
    total = float(weight.sum())
    if not (np.isfinite(total) and total > 0):
        return None
    amount = float(np.sum(difference * weighted, dtype=np.float64)) / total
    in_std = float("nan")
    if tau is not None:
        shift = amount**2 * float(np.sum(weight * weighted**2))
        in_std = float(np.copysign(np.sqrt(shift / max(float(np.sum(weight * tau**2 / predicted)), 1e-30)), amount))
    return Bias(name, unit, scale * amount, amount * np.sqrt(total * (1.0 - share)), in_std)


def _group_biases(
    held: np.ndarray, predicted: np.ndarray, moving: np.ndarray, tau: np.ndarray | None, share: float
) -> list[Bias]:
    """Bright and dark, moving and static pixels; parts of the run."""
    edges = np.quantile(predicted, np.linspace(0.0, 1.0, _LEVELS + 1)[1:-1])
    level = np.digitize(predicted, edges)
    words = ("the darkest", "the darker", "the brighter", "the brightest")
    groups = {
        f"{words[k]} quarter, {'moving' if m else 'static'} pixels": (level == k) & (moving == m)
        for k, m in product(range(_LEVELS), (False, True))
    }
    if predicted.ndim == 3 and len(predicted) >= _PARTS:
        for frames in np.array_split(np.arange(len(predicted)), _PARTS):
            inside = np.zeros(predicted.shape, bool)
            inside[frames] = True
            groups[f"frames {frames[0]} to {frames[-1]}"] = inside
    found = []
    for name, inside in groups.items():
        if inside.any():
            part = predicted[inside]
            t = None if tau is None else tau[inside]
            found.append(_bias(name, "%", 100.0, held[inside] - part, part, part, t, share))
    return [bias for bias in found if bias is not None]


def _chain_biases(
    held: np.ndarray,
    predicted: np.ndarray,
    patterns: np.ndarray,
    scene: Scene,
    tau: np.ndarray | None,
    share: float,
) -> list[Bias]:
    """Along the derivative of the counts by each parameter, at a fixed image."""
    found = [
        _bias(parameter.name, parameter.unit, 1.0, held - predicted, pattern, predicted, tau, share)
        for parameter, pattern in zip(scene.operator.parameters, patterns, strict=True)
    ]
    return [bias for bias in found if bias is not None]


@eqx.filter_jit
def _expected(
    x: Float[Array, "*shape"],
    values: Float[Array, " parameters"],
    names: tuple[str, ...],
    acquisition: Acquisition,
    operator: FluoroscopyOperator,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Float[Array, "parameters *shape"]]:
    """Expected counts, their information about x, and their derivative by each parameter."""

    def rate(values: Array) -> Array:
        return jnp.maximum(operator(x, Spec.from_array(values, names), acquisition), 1e-6)

    values = jnp.asarray(values, x.dtype)
    expected = rate(values)
    information = operator.pixel_information(x, expected, Spec.from_array(values, names), acquisition)
    return (
        expected,
        information,
        jnp.stack([jax.jvp(rate, (values,), (e,))[1] for e in jnp.eye(len(names), dtype=x.dtype)]),
    )


def interval_sizes(
    z: Float[np.ndarray, "*shape"],
    tau: Float[np.ndarray, "*shape"],
    predicted: Float[np.ndarray, "*shape"],
    change: Float[np.ndarray, "*shape"],
    moving: Bool[np.ndarray, "*shape"],
) -> tuple[IntervalSize, ...]:
    """Ratio of squared error and stated variance over all, moving and static pixels.

    The least-squares slope of ``z_i z_j − δ_ij`` on ``ρ_ij τ_i τ_j`` over all pairs of neighbours, with ρ the
    correlation of the errors (``error_correlation``). Its standard error is that of a jackknife over patches, or
    that of white residuals where it is larger.

    **Arguments:** standardised differences ``z``; stated standard deviations ``tau`` of the rate in units of the photon
    noise; ``predicted`` counts; ``change`` of x̂ in units of its standard deviation, for ρ; ``moving`` pixels.
    """
    z, tau, predicted, change, moving = (v.reshape(-1, *v.shape[-2:]) for v in (z, tau, predicted, change, moving))
    pieces = [
        (slice(t, t + _PIECE_FRAMES), slice(r, r + _PIECE), slice(c, c + _PIECE))
        for t, r, c in product(*(range(0, n, s) for n, s in zip(z.shape, (_PIECE_FRAMES, _PIECE, _PIECE), strict=True)))
    ]
    rho = error_correlation([change[p] for p in pieces])
    groups = {"all": None, "moving": True, "static": False}
    tables: dict[str, list[np.ndarray]] = {name: [] for name in groups}
    for piece in pieces:
        values = _products(z[piece], tau[piece], predicted[piece], rho)
        for name, wanted in groups.items():
            inside = np.ones(values[0].shape, bool) if wanted is None else moving[piece] == wanted
            tables[name].append(_patch_sums([v * inside for v in values]))
    found = []
    for name, parts in tables.items():
        top, bottom, white = np.concatenate(parts).T
        if bottom.sum() > 0:
            ratio = 1.0 + float(top.sum() / bottom.sum())
            count = np.count_nonzero(bottom)
            error = np.sqrt(white.sum()) / bottom.sum()
            if count > 1:
                residual = top - (ratio - 1.0) * bottom
                error = max(error, np.sqrt(np.sum(residual**2) * count / (count - 1)) / bottom.sum())
            found.append(IntervalSize(name, ratio, float(error)))
    return tuple(found)


def error_correlation(changes: list[Float[np.ndarray, "T H W"]]) -> Float[np.ndarray, "t y x"]:
    """Correlation of the errors at lags up to 12 frames and pixels, from the response of x̂ to further quanta.

    Noise of even spectrum that goes through the gain G of a Bayesian estimate comes out with the spectrum G², while the
    posterior variance of each frequency is proportional to G itself. The spectrum of the errors is therefore the root
    of the spectrum of the changes. At most eight pieces enter. Lag zero stands in the middle.
    """
    chosen = changes[:: max(1, len(changes) // 8)]
    sizes = [max(part.shape[axis] for part in chosen) for axis in range(3)]
    reach = [min(_REACH, n - 1) for n in sizes]
    full = [_fast(n + r) for n, r in zip(sizes, reach, strict=True)]
    total = np.zeros([2 * r + 1 for r in reach])
    pairs = np.zeros_like(total)
    for part in chosen:
        for values, into in ((part - part.mean(), total), (np.ones_like(part), pairs)):
            spectrum = np.abs(np.fft.rfftn(values.astype(np.float64), full, _ALL)) ** 2
            into += _central(np.fft.irfftn(spectrum, full, _ALL), reach)
    covariance = total / np.maximum(pairs, 1.0)
    for axis, r in enumerate(reach):
        # One up to half of the reach, and a cosine beyond.
        beyond = np.clip(2.0 * np.abs(np.arange(-r, r + 1)) / (r + 1) - 1.0, 0.0, 1.0)
        taper = 0.5 + 0.5 * np.cos(np.pi * beyond)
        covariance = covariance * taper.reshape([-1 if a == axis else 1 for a in range(3)])
    wide = [_fast(4 * r + 1) for r in reach]
    spectrum = np.fft.rfftn(_wrapped(covariance, wide)).real
    root = np.sqrt(np.maximum(spectrum, 0.0))
    rho = _central(np.fft.irfftn(root, wide, _ALL), reach)
    middle = rho[tuple(r for r in reach)]
    return rho / middle if middle > 0 else np.where(np.arange(rho.size).reshape(rho.shape) == rho.size // 2, 1.0, 0.0)


def _fast(length: int) -> int:
    """The next length whose Fourier transform is fast."""
    return int(next_fast_len(length, True))  # pyright: ignore[reportArgumentType]


def _central(values: np.ndarray, reach: list[int]) -> np.ndarray:
    """Lags −reach … reach of a periodic correlation."""
    return values[np.ix_(*(np.arange(-r, r + 1) for r in reach))]


def _wrapped(values: np.ndarray, shape: list[int]) -> np.ndarray:
    """The inverse of :func:`_central` on a zero background."""
    out = np.zeros(shape)
    out[np.ix_(*(np.arange(-(n // 2), n // 2 + 1) for n in values.shape))] = values
    return out


def _products(z: np.ndarray, tau: np.ndarray, predicted: np.ndarray, rho: np.ndarray) -> list[np.ndarray]:
    """Per pixel: its part of the numerator less that of ratio one, of the denominator, and of the white variance."""
    full = [_fast(n + s // 2) for n, s in zip(z.shape, rho.shape, strict=True)]
    here = tuple(slice(0, n) for n in z.shape)
    kernel, square = (np.fft.rfftn(_wrapped(k, full)).real for k in (rho, rho**2))

    def smooth(values: np.ndarray, transfer: np.ndarray) -> np.ndarray:
        return np.fft.irfftn(np.fft.rfftn(values, full, _ALL) * transfer, full, _ALL)[here]

    signal, variance = (tau * z).astype(np.float64), (tau**2).astype(np.float64)
    bottom = variance * smooth(variance, square)
    top = signal * smooth(signal, kernel) - variance - bottom
    # The diagonal of Poisson counts: var(z²) = 2 + 1/λ.
    return [top, bottom, 2.0 * bottom + variance**2 / predicted]


def _patch_sums(values: list[np.ndarray]) -> Float[np.ndarray, "patches values"]:
    """Sums over all frames of patches of pixels."""
    frames = np.stack([v.sum(axis=0) for v in values])
    rows, columns = (np.arange(0, n, _PATCH) for n in frames.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(frames, rows, axis=1), columns, axis=2)
    return sums.reshape(len(values), -1).T
