"""Online statistics of images: moments, quantiles and correlations that are updated with one image at a time.

The memory that they take does not depend on the number of images. Means and variances follow Welford (Technometrics
4:419, 1962). Quantiles come from one histogram per pixel, with bins laid out beforehand around a pilot mean; a quantile
read from it lies in the bin of the exact one.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Integer, Shaped

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
    Markov chain given as two halves this is split R-hat. One where nothing varies.
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
