"""Moments, quantiles and correlations of images that stream by, in memory independent of their number; convergence.

Means and variances follow Welford (Technometrics 4:419, 1962). Quantiles come from one histogram per pixel, with bins
laid out beforehand around a pilot mean; a quantile read from it lies in the bin of the exact one. R-hat and effective
sample sizes of single numbers are those of Vehtari, Gelman, Simpson, Carpenter & Bürkner (Bayesian Analysis 16:667,
2021): rank-normalised, of split chains, for the bulk and for the 5 % and 95 % quantiles.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Integer, Shaped
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from scipy.special import ndtri
from scipy.stats import rankdata

from fluorojax.data.spec import SPEC_NAMES

# Inner bins of a histogram, and its half width in pilot standard deviations.
BINS = 64
HALF_WIDTH = 5.0
# Most images a histogram can count.
MAX_IMAGES = np.iinfo(np.uint16).max


class Moments(eqx.Module):
    """Number, mean and sum of squared deviations of the images added so far; any leading axes are batches."""

    count: Float[Array, "*batch"]
    mean: Float[Array, "..."]
    squares: Float[Array, "..."]

    @classmethod
    def zero(cls, shape: Sequence[int], batch: Sequence[int] = ()) -> "Moments":
        """Nothing seen yet."""
        return cls(jnp.zeros(tuple(batch)), jnp.zeros((*batch, *shape)), jnp.zeros((*batch, *shape)))

    def add(self, image: Float[Array, "*shape"], weight: Shaped[ArrayLike, "*batch"] = 1.0) -> "Moments":
        """The moments with one more image; where ``weight`` is 0 nothing changes, where it is 1 the image counts."""
        weight = jnp.broadcast_to(jnp.asarray(weight, self.mean.dtype), self.count.shape)
        count = self.count + weight
        share = (weight / jnp.maximum(count, 1.0)).reshape(count.shape + (1,) * image.ndim)
        difference = image - self.mean
        mean = self.mean + share * difference
        # share · (n − 1) is 1 − 1/n for a counted image and 0 otherwise, free of the cancellation of (x − m_n).
        earlier = self.count.reshape(share.shape)
        return Moments(count, mean, self.squares + share * earlier * difference**2)

    def variance(self) -> Float[Array, "..."]:
        """Unbiased variance; zero with fewer than two images."""
        degrees = jnp.maximum(self.count - 1.0, 1.0)
        return self.squares / degrees.reshape(degrees.shape + (1,) * (self.mean.ndim - degrees.ndim))


def pool(moments: Moments) -> Moments:
    """Moments of the union over the first batch axis (Chan, Golub & LeVeque, Am. Stat. 37:242, 1983, eq. 2.1)."""
    total = jnp.sum(moments.count, axis=0)
    share = moments.count / jnp.maximum(total, 1.0)
    lead = (slice(None),) * moments.count.ndim + (None,) * (moments.mean.ndim - moments.count.ndim)
    mean = jnp.sum(share[lead] * moments.mean, axis=0)
    between = jnp.sum(moments.count[lead] * (moments.mean - mean) ** 2, axis=0)
    return Moments(total, mean, jnp.sum(moments.squares, axis=0) + between)


def potential_scale_reduction(moments: Moments) -> Float[Array, "*shape"]:
    """R-hat of every pixel from the moments of sequences along the first axis (Gelman & Rubin, Stat. Sci. 7:457, 1992).

    ``√((n−1)/n + B/(n·W))`` with W the mean variance of the sequences and B/n the variance of their means. With each
    chain given as two halves this is split R-hat. One where nothing varies.
    """
    count = jnp.mean(moments.count)
    within = jnp.mean(moments.variance(), axis=0)
    between = jnp.var(moments.mean, axis=0, ddof=1)
    reduction = (count - 1.0) / count + between / jnp.where(within > 0, within, 1.0)
    return jnp.where(within > 0, jnp.sqrt(reduction), jnp.where(between > 0, jnp.inf, 1.0))


class CoMoments(eqx.Module):
    """Sums that give the correlation of a few numbers with every pixel; leading axes of all leaves are batches."""

    count: Float[Array, "*batch"]
    number_mean: Float[Array, "..."]
    number_squares: Float[Array, "..."]
    image_mean: Float[Array, "..."]
    image_squares: Float[Array, "..."]
    products: Float[Array, "..."]
    """Sums of products of deviations, shape ``(numbers, *shape)``."""

    @classmethod
    def zero(cls, numbers: int, shape: Sequence[int]) -> "CoMoments":
        """Nothing seen yet."""
        few, image = jnp.zeros(numbers), jnp.zeros(tuple(shape))
        return cls(jnp.zeros(()), few, few, image, image, jnp.zeros((numbers, *shape)))

    def add(
        self, numbers: Float[Array, "numbers"], image: Float[Array, "*shape"], weight: Shaped[ArrayLike, ""] = 1.0
    ) -> "CoMoments":
        """With one more pair, or unchanged where ``weight`` is 0 (Welford's recursion; no batch axes)."""
        weight = jnp.asarray(weight, self.image_mean.dtype)
        count = self.count + weight
        share = weight / jnp.maximum(count, 1.0)
        by_number, by_pixel = numbers - self.number_mean, image - self.image_mean
        # share · (n − 1) is 1 − 1/n for what counts, and 0 otherwise.
        factor = share * self.count
        return CoMoments(
            count,
            self.number_mean + share * by_number,
            self.number_squares + factor * by_number**2,
            self.image_mean + share * by_pixel,
            self.image_squares + factor * by_pixel**2,
            self.products + factor * jnp.multiply.outer(by_number, by_pixel),
        )

    def correlation(self) -> Float[Array, "numbers *shape"]:
        """Correlation over the union of the first batch axis; zero where number or pixel never varies."""
        share = self.count / jnp.sum(self.count)

        def united(mean: Array, squares: Array) -> tuple[Array, Array]:
            off = mean - jnp.tensordot(share, mean, axes=1)
            return off, jnp.sum(squares, axis=0) + jnp.tensordot(self.count, off**2, axes=1)

        number_off, number_squares = united(self.number_mean, self.number_squares)
        image_off, image_squares = united(self.image_mean, self.image_squares)
        between = jnp.einsum("c,cn,c...->n...", self.count, number_off, image_off)
        scale = jnp.sqrt(jnp.multiply.outer(number_squares, image_squares))
        products = jnp.sum(self.products, axis=0) + between
        return jnp.where(scale > 0, products / jnp.where(scale > 0, scale, 1.0), 0.0)


class Grid(eqx.Module):
    """Where the histogram bins of every pixel lie: 64 of equal width over mean ± 5 sd of a pilot run."""

    low: Float[Array, "*shape"]
    width: Float[Array, "*shape"]
    """Width of one bin: the bound on the error of a quantile that the histogram adds to the sampling error."""

    @classmethod
    def around(cls, pilot: Moments) -> "Grid":
        """The bins around the mean of a pilot run."""
        half = HALF_WIDTH * jnp.sqrt(pilot.variance())
        # A pixel that never moved still needs bins of positive width.
        half = jnp.maximum(half, 1e-6 * (1.0 + jnp.abs(pilot.mean)))
        return cls(pilot.mean - half, 2.0 * half / BINS)

    def empty(self) -> Integer[Array, "bins *shape"]:
        """A histogram of nothing: ``BINS`` bins between one for all below and one for all above."""
        return jnp.zeros((BINS + 2, *self.low.shape), jnp.uint16)

    def add(
        self,
        histogram: Integer[Array, "bins *shape"],
        image: Float[Array, "*shape"],
        weight: Shaped[ArrayLike, ""] = 1.0,
    ) -> Integer[Array, "bins *shape"]:
        """The histogram with one more image, or unchanged where ``weight`` is 0."""
        place = jnp.clip(jnp.floor((image - self.low) / self.width) + 1.0, 0.0, BINS + 1.0)
        bins = jnp.arange(BINS + 2, dtype=place.dtype).reshape(-1, *(1,) * image.ndim)
        # Comparing with every bin is one fused pass; a scatter of single counts is slower on every backend.
        return histogram + ((place == bins) & (jnp.asarray(weight) > 0)).astype(histogram.dtype)

    def quantiles(
        self, histogram: Integer[Array, "bins *shape"], probabilities: Sequence[float]
    ) -> Float[Array, "quantiles *shape"]:
        """Quantiles, linear within a bin; those in an outer bin are given as the edge of the inner ones."""
        cumulative = jnp.cumsum(histogram.astype(jnp.int32), axis=0)
        total = cumulative[-1].astype(self.low.dtype)
        results = []
        for probability in probabilities:
            wanted = probability * total
            index = jnp.argmax(cumulative >= wanted, axis=0)  # the first bin that reaches the wanted count
            here = jnp.take_along_axis(histogram, index[None], axis=0)[0].astype(total.dtype)
            before = jnp.take_along_axis(cumulative, index[None], axis=0)[0].astype(total.dtype) - here
            inside = jnp.clip((wanted - before) / jnp.maximum(here, 1.0), 0.0, 1.0)
            position = jnp.clip(index - 1 + inside, 0.0, float(BINS))
            results.append(self.low + self.width * position)
        return jnp.stack(results)

    def outside(self, histogram: Integer[Array, "bins *shape"]) -> Float[Array, ""]:
        """Share of all values that fell outside the inner bins."""
        counts = histogram.astype(jnp.float32)
        return (jnp.sum(counts[0]) + jnp.sum(counts[-1])) / jnp.maximum(jnp.sum(counts), 1.0)


class Stream(eqx.Module):
    """What one chain keeps of the images it passes."""

    pilot: Moments
    """Later half of the warm-up, which lays out the grid."""
    moments: Moments
    """First and second half of the draws."""
    histogram: Integer[Array, "bins *shape"]
    together: CoMoments
    """Spec parameters and x over the draws."""

    @classmethod
    def zero(cls, grid: Grid) -> "Stream":
        """Nothing seen yet."""
        shape = grid.low.shape
        together = CoMoments.zero(len(SPEC_NAMES), shape)
        return cls(Moments.zero(shape), Moments.zero(shape, (2,)), grid.empty(), together)

    def add(
        self,
        spec: Float[Array, "3"],
        image: Float[Array, "*shape"],
        grid: Grid,
        index: Integer[Array, ""],
        warmup: int,
        half: Integer[Array, ""],
    ) -> "Stream":
        """With the spec and the image of number ``index``; draws start at ``warmup``, their second half at ``half``."""
        drawn = index >= warmup
        return Stream(
            self.pilot.add(image, ~drawn & (index >= warmup // 2)),
            self.moments.add(image, jnp.stack([drawn & (index < half), index >= half])),
            grid.add(self.histogram, image, drawn),
            self.together.add(spec, image, drawn),
        )


class Watch(eqx.Module):
    """Places of x of which every draw is kept: single pixels, and regions by their mean."""

    pixels: Integer[Array, "pixels axes"]
    regions: Bool[Array, "regions *shape"]
    names: tuple[str, ...] = eqx.field(static=True)
    """Of the pixels, then of the regions."""

    @classmethod
    def of(cls, places: Mapping[str, tuple[int, ...] | np.ndarray] | None, shape: tuple[int, ...]) -> "Watch":
        """Index tuples and boolean masks by name; for None a grid of 4 × 4 pixels of the middle frame.

        Raises ``ValueError`` for an index outside x, and a mask that is empty or of another shape.
        """
        if places is None:
            rows, columns = (np.unique((np.arange(4) + 0.5) * size / 4).astype(int).tolist() for size in shape[-2:])
            frame = tuple(size // 2 for size in shape[:-2])
            indices = [(*frame, row, column) for row in rows for column in columns]
            places = {f"x{list(index)}": index for index in indices}
        pixels, regions = {}, {}
        for name, place in places.items():
            if isinstance(place, np.ndarray) and place.dtype == bool:
                if place.shape != shape or not place.any():
                    raise ValueError(
                        f"watch[{name!r}] is a mask of shape {place.shape}; expected {shape}, not all False"
                    )
                regions[name] = place
            else:
                index = tuple(place)
                if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
                    raise ValueError(f"watch[{name!r}] is {index}; expected the index of a pixel inside {shape}")
                pixels[name] = index
        return cls(
            jnp.asarray(np.array(list(pixels.values()), np.int32).reshape(-1, len(shape))),
            jnp.asarray(np.array(list(regions.values()), bool).reshape(-1, *shape)),
            (*pixels, *regions),
        )

    def values(self, image: Float[Array, "*shape"]) -> Float[Array, "places"]:
        """x in the pixels and its means over the regions."""
        pixels = image[tuple(self.pixels.T)]
        return jnp.concatenate([pixels, jax.vmap(lambda region: jnp.mean(image, where=region))(self.regions)])


def device_memory() -> int:
    """Bytes of memory of a local device; for CPU devices the machine's, shared evenly; unbounded where unknown."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return int((device.memory_stats() or {}).get("bytes_limit", 2**62))
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    except (AttributeError, ValueError, OSError):  # not a POSIX system: the allocator will say
        return 2**62


@dataclass(frozen=True)
class Convergence:
    """How well the chains of one number agree, and how many independent draws they are worth."""

    rhat: float
    ess_bulk: float
    ess_tail: float


def convergence_of(draws: Float[np.ndarray, "chains draws"]) -> Convergence:
    """R-hat and effective sample sizes of one number; not-a-number where its draws are all the same."""
    draws = np.asarray(draws, np.float64)
    if np.ptp(draws) == 0:
        return Convergence(float("nan"), float("nan"), float("nan"))
    ranks = _rank_normalised(draws)
    folded = _rank_normalised(np.abs(draws - np.median(draws)))
    tails = [(draws <= np.quantile(draws, p)).astype(float) for p in (0.05, 0.95)]
    return Convergence(
        rhat=float(max(split_gelman_rubin(ranks), split_gelman_rubin(folded))),
        ess_bulk=_split_ess(ranks),
        ess_tail=float(np.min([_split_ess(tail) for tail in tails])),
    )


def _rank_normalised(draws: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, "chains draws"]:
    """Normal scores of the ranks over all chains (Vehtari et al., eq. 14)."""
    return ndtri((rankdata(draws).reshape(draws.shape) - 0.375) / (draws.size + 0.25))


def _split_ess(draws: Float[np.ndarray, "chains draws"]) -> float:
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, -half:]])
    if np.ptp(split) == 0:
        return float("nan")
    # Antithetic chains may be worth more than independent ones; the logarithm bounds a noisy time (ibid., § 3.2).
    time = draws.size / float(effective_sample_size(split))
    return draws.size / max(time, 1.0 / float(np.log10(draws.size)))
