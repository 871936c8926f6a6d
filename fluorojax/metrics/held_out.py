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
  from all quanta and from the kept ones, as a narrowest and a widest reach. A verdict has to hold for both.

An error of image and imaging chain that leaves the counts as they are shows in no count, held out or not.
"""

from dataclasses import replace
from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.metrics.held_out_verdict import Bias, HeldOut, IntervalSize
from fluorojax.metrics.interval_coverage import moving_pixels
from fluorojax.metrics.interval_size import interval_sizes
from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.physics.stage import CountStage

SHARE = 0.1
"""Share of the quanta that is held out unless another is asked for."""
_LEVELS, _PARTS = 4, 4
# Smallest spread by which changes are divided, over the median.
_LEAST_SPREAD = 0.3


def thinned(scene: Scene, share: float, rng: np.random.Generator) -> tuple[Scene, Float[np.ndarray, "*shape"]]:
    """The scene with each quantum kept with probability 1 − ``share``, its open-beam dose lowered alike; and the rest.

    **Raises:** ``ValueError`` in one line for a share outside (0, 1), counts with electronic noise or that are not
    whole numbers (no Poisson counts then), or an imaging chain whose counts do not all come from the beam.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"the held-out share is {share:g}; expected a number between 0 and 1")
    if (noise := scene.acquisition.as_dict()["electronic_noise"]) > 0:
        raise ValueError(
            f"{scene.name}: the counts hold electronic noise of {noise:g} quanta, which cannot be divided as quanta "
            "can; held-out quanta serve counts without electronic noise"
        )
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
    # As arrays, so that scenes of other protocols find the same program.
    chain = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), (scene.acquisition, scene.operator))
    rate, information, patterns = (np.asarray(v) for v in _expected(x, spec.as_array(), spec.names, *chain))
    spread = _noise_std(kept, whole)
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
        # Where the imaging chain is responsible for all of the variance nothing is left of the spread; such pixels must
        # not decide how far errors reach.
        least = max(_LEAST_SPREAD * float(np.median(spread)), float(np.finfo(np.float32).tiny))
        change = (whole.x_hat - kept.x_hat) / np.maximum(spread, least)
        sizes = interval_sizes(z, tau, predicted, change, moving)
    return HeldOut(share, float(np.sum(held, dtype=np.float64)), tuple(biases), sizes)


def _noise_std(kept: Reconstruction, whole: Reconstruction) -> Float[np.ndarray, "*shape"] | None:
    """The part of the stated standard deviation that photon noise and prior are responsible for, where it is known.

    The share of the imaging chain is that of the whole result where the one from the kept quanta does not state it:
    a tenth of the quanta changes it little.
    """
    if kept.x_std is None or kept.noise_std is not None:
        return kept.noise_std
    if whole.noise_std is None or whole.x_std is None:
        return kept.x_std
    return kept.x_std * (whole.noise_std / np.maximum(whole.x_std, np.finfo(np.float32).tiny))


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
    along = jax.vmap(lambda direction: jax.jvp(rate, (values,), (direction,))[1])
    return expected, information, along(jnp.eye(len(names), dtype=x.dtype))
