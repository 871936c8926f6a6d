"""The coordinates in which NUTS moves.

The posterior of the whitened latents is approximated at a reference point by a Gaussian of precision M = JᵀFJ + 1
(:mod:`fluorojax.engines.linear_response`). With the latents split into fields f (the scene) and shared latents s (spec
and hyperparameters), the block factorisation ``M = Uᵀ·diag(M_ff, S)·U`` with the Schur complement
``S = M_ss − M_sf M_ff⁻¹ M_fs`` says how to decorrelate them: when s moves, f follows by ``−M_ff⁻¹ M_fs δs``. Without
this, every pixel opposes a change of the gain drift or of the amplitude of a spectrum at fixed fields, and trajectories
advance very slowly.
"""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Key

from fluorojax.engines.energy import Latents, Posterior, diagonal_scale, posterior
from fluorojax.engines.linear_response import Metric, metric
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel

Position = dict[str, Array]

# Shared latents each cost one linear solve, one column of the response and a row of the dense mass matrix.
_MAX_SHARED = 64
# Relative residual and most iterations of those solves: what is left over only slows the sampler.
_TOLERANCE = 1e-2
_MAX_ITERATIONS = 60
# Random sign images for the preconditioner, and for the relative amplitudes of the fields.
_PROBES, _SIGNS = 16, 4


def shared_sites(model: SceneModel, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The spec's latents, then those hyperparameters that still fit among 64 numbers; the others count as fields."""
    names, size = [SPEC_SITE], int(np.prod(shapes[SPEC_SITE]))
    for name in model.hyperparameters:
        size += (add := int(np.prod(shapes[name])))
        if size > _MAX_SHARED:
            size -= add
            continue
        names.append(name)
    return tuple(names)


class Coordinates(eqx.Module):
    """The map from sampling coordinates, about standard normal, to latents.

    ``s = s₀ + L·z_s`` with ``L·Lᵀ = S⁻¹``, and ``f = exp(−C·δs)∘(f₀ + d∘z_f + R·δb)``. Fields that the data determine
    are centred, C = w·∂log a/∂s: a larger amplitude a with x as it is means smaller latents; fields that the prior
    determines are not, w = 1 − d² being the share of the data (Papaspiliopoulos, Roberts & Sköld, Stat. Sci. 22:59,
    2007). R is what remains of the linear response. It acts on the bent ``b(s) = √(2π)·(Φ(s) − ½)`` of the spec's
    latents, so that it is linear in the spec parameters themselves.

    Where the shared latents come from elsewhere, a position has the fields alone, and they follow all the same.
    """

    centre: Float[Array, "shared"]
    spread: Float[Array, "shared shared"]
    origin: Latents
    scale: Latents
    response: Latents
    """R: change of each field per unit of each bent shared latent, shape ``(shared, *site shape)``."""
    centring: Latents
    """C: relative change of each field per unit of each shared latent, same shapes."""
    held: Latents
    """Latents that stay as they are."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    """Names and shapes of the shared sites, in their order in ``centre``."""

    def latents(self, position: Position, shared: Float[Array, "shared"] | None = None) -> Latents:
        """The latents at a position ``{"fields": (fields,), "shared": (shared,)}``, or with given ``shared`` ones."""
        if shared is None:
            shared = self.centre + self.spread @ position["shared"]
        moved = shared - self.centre
        bent = self._bend(shared) - self._bend(self.centre)
        latents, begin = dict(self.held), 0
        for name in sorted(self.origin):
            origin = self.origin[name]
            step = position["fields"][begin : begin + origin.size].reshape(origin.shape)
            factor = jnp.exp(-jnp.tensordot(moved, self.centring[name], axes=1))
            shift = jnp.tensordot(bent, self.response[name], axes=1)
            latents[name] = factor * (origin + self.scale[name] * step + shift)
            begin += origin.size
        begin = 0
        for name, shape in self.shapes:
            size = int(np.prod(shape))
            latents[name] = shared[begin : begin + size].reshape(shape)
            begin += size
        return latents

    def log_determinant(self, position: Position) -> Float[Array, ""]:
        """Of the Jacobian of :meth:`latents`, up to a constant: triangular, with ``d·exp(−C·δs)`` for the fields."""
        if "shared" not in position:
            return jnp.zeros((), self.centre.dtype)
        total = sum(jnp.sum(leaf.reshape(self.centre.size, -1), axis=1) for leaf in self.centring.values())
        return -jnp.dot(total, self.spread @ position["shared"])

    def draw(self, key: Key[Array, ""], dispersion: float = 2.0) -> Position:
        """A starting position: fields like a posterior draw, shared latents ``dispersion`` times as wide."""
        field_key, shared_key = jax.random.split(key)
        size = sum(leaf.size for leaf in self.origin.values())
        dtype = self.centre.dtype
        return {
            "fields": jax.random.normal(field_key, (size,), dtype),
            "shared": dispersion * jax.random.normal(shared_key, self.centre.shape, dtype),
        }

    def _bend(self, shared: Float[Array, "shared"]) -> Float[Array, "shared"]:
        of_spec = np.arange(shared.size) < int(np.prod(self.shapes[0][1]))
        return jnp.where(of_spec, jnp.sqrt(2 * jnp.pi) * (norm.cdf(shared) - 0.5), shared)


class _Split(NamedTuple):
    """The latents around which the coordinates are laid out, in their three parts."""

    model: SceneModel
    data: SceneData
    flat: Float[Array, "shared"]
    """The shared latents, flattened."""
    sites: tuple[tuple[str, tuple[int, ...]], ...]
    """Names and shapes of the shared sites."""
    fields: Latents
    held: Latents

    def shared(self, values: Float[Array, "shared"]) -> Latents:
        """Values of the shared sites by name."""
        sizes = [int(np.prod(shape)) for _, shape in self.sites]
        ends = np.cumsum(sizes)
        pairs = zip(self.sites, sizes, ends, strict=True)
        return {name: values[end - size : end].reshape(shape) for (name, shape), size, end in pairs}

    def target(self, values: Float[Array, "shared"]) -> Posterior:
        """The posterior of the fields at given shared latents."""
        return posterior(self.model, self.data, self.shared(values) | self.held)

    @property
    def of_spec(self) -> Bool[np.ndarray, "shared"]:
        """Which of the shared latents are those of the spec."""
        sizes = {name: int(np.prod(shape)) for name, shape in self.sites}
        return np.arange(self.flat.size) < sizes[SPEC_SITE]


def make_coordinates(
    model: SceneModel, data: SceneData, start: Latents, key: Key[Array, ""], hold: bool = False
) -> Coordinates:
    """Sampling coordinates around ``start``, such as the latents of a MAP solve; pure and traceable.

    ``start`` names every latent. The spec parameters may stand at any value inside their ranges. ``hold`` keeps the
    model's hyperparameters at their values.
    """
    split = _split(model, data, start, hold)
    fields, flat = split.fields, split.flat
    target = split.target(flat)
    scale = diagonal_scale(target, fields, key, probes=_PROBES)
    linear = metric(target, fields, scale)

    response, residual = _follow(split, linear)
    signs = jax.random.rademacher(key, (_SIGNS, *data.counts.shape), flat.dtype)
    centring = _centring(split, scale, signs)
    spread = _spread(fields, scale, response, residual, centring)

    response = jax.tree.map(lambda r, c, f: r + c * f, response, centring, fields)
    # d(bend)/ds = exp(−s²/2) for the spec's latents, one for the others; bounded for a start on an edge of a range.
    slope = jnp.where(split.of_spec, jnp.exp(-0.5 * jnp.minimum(flat**2, 9.0)), 1.0)
    response = jax.tree.map(lambda leaf: leaf / slope.reshape(-1, *(1,) * (leaf.ndim - 1)), response)
    return Coordinates(flat, spread, fields, scale, response, centring, split.held, split.sites)


def _split(model: SceneModel, data: SceneData, start: Latents, hold: bool) -> _Split:
    held = {name: start[name] for name in model.hyperparameters} if hold else {}
    free = {name: leaf for name, leaf in start.items() if name not in held}
    shapes = {name: leaf.shape for name, leaf in free.items()}
    names = (SPEC_SITE,) if hold else shared_sites(model, shapes)
    flat = jnp.concatenate([free[name].ravel() for name in names])
    fields = {name: leaf for name, leaf in free.items() if name not in names}
    return _Split(model, data, flat, tuple((name, shapes[name]) for name in names), fields, held)


def _follow(split: _Split, linear: Metric) -> tuple[Latents, Float[Array, "shared *shape"]]:
    """How the fields follow each shared latent, and what they leave of the change of the rate.

    The latter is weighted to unit noise: the rows of a factor of the Schur complement.
    """

    def rate(values: Float[Array, "shared"]) -> Float[Array, "*shape"]:
        return split.target(values).rate(split.fields)

    def follow(direction: Float[Array, "shared"]) -> tuple[Latents, Float[Array, "*shape"]]:
        change = jax.jvp(rate, (split.flat,), (direction,))[1]
        right = optax.tree.mul(linear.scale, linear.pull(-linear.information * change))
        # Nothing reads how far the solve came, so that the library's serves.
        scaled, _ = jax.scipy.sparse.linalg.cg(linear.scaled_product, right, tol=_TOLERANCE, maxiter=_MAX_ITERATIONS)
        moved = optax.tree.mul(linear.scale, scaled)
        return moved, jnp.sqrt(linear.information) * (change + linear.push(moved))

    return jax.lax.map(follow, jnp.eye(split.flat.size, dtype=split.flat.dtype))


def _centring(split: _Split, scale: Latents, signs: Float[Array, "signs *shape"]) -> Latents:
    """C of :class:`Coordinates`: ``∂log a/∂s`` of every field, by least squares over random pixel signs, times w.

    The least squares are exact where x is a·f. The spec acts on the rate and not on the amplitudes of the fields.
    """

    def pulled(values: Float[Array, "shared"], sign: Float[Array, "*shape"]) -> Latents:
        """``(∂x/∂f)ᵀ·sign`` at other shared latents: proportional to a field's amplitude in x."""
        return jax.vjp(split.target(values).x, split.fields)[1](sign)[0]

    def relative_amplitude(direction: Float[Array, "shared"]) -> Latents:
        def terms(sign: Float[Array, "*shape"]) -> tuple[Latents, Latents]:
            here, change = jax.jvp(lambda values: pulled(values, sign), (split.flat,), (direction,))
            return jax.tree.map(jnp.square, here), jax.tree.map(jnp.multiply, here, change)

        squares, products = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.lax.map(terms, signs))
        return jax.tree.map(lambda product, square: product / (square + 1e-30), products, squares)

    dtype = split.flat.dtype
    amplitudes = jax.lax.map(relative_amplitude, jnp.eye(split.flat.size, dtype=dtype))
    hyper = jnp.asarray(~split.of_spec, dtype)
    return jax.tree.map(lambda c, d: hyper.reshape(-1, *(1,) * d.ndim) * c * (1.0 - d**2), amplitudes, scale)


def _spread(
    fields: Latents, scale: Latents, response: Latents, residual: Float[Array, "shared *shape"], centring: Latents
) -> Float[Array, "shared shared"]:
    """L of :class:`Coordinates`, from the Schur complement of the shared latents."""
    size, dtype = residual.shape[0], residual.dtype
    unit = jnp.eye(size, dtype=dtype)

    def gram(columns: Latents, weight: Latents) -> Float[Array, "shared shared"]:
        rows = [columns[n].reshape(size, -1) * jnp.sqrt(weight[n].ravel()) for n in columns]
        return sum((row @ row.T for row in rows), jnp.zeros((size, size), dtype))

    # Written as a sum of squares it stays positive where the solves are inexact, with an error of second order.
    residual = residual.reshape(size, -1)
    schur = residual @ residual.T + gram(response, jax.tree.map(jnp.ones_like, fields)) + unit
    # Centred fields bend their prior, ½f²·exp(−2C·δs): its second derivative beyond the square counted above.
    schur += gram(centring, jax.tree.map(lambda f, d: f**2 + 2.0 * d**2, fields, scale))
    lower = jnp.linalg.cholesky(0.5 * (schur + schur.T))
    return jax.scipy.linalg.solve_triangular(lower, unit, lower=True).T


def complete_start(start: Latents, shapes: Mapping[str, tuple[int, ...]]) -> Latents:
    """Every latent of the model, those missing in ``start`` at zero; raises ``ValueError`` where they do not fit."""
    if unknown := sorted(set(start) - set(shapes)):
        raise ValueError(f"start names {', '.join(unknown)}; expected latents of the model: {', '.join(shapes)}")
    full = {n: jnp.asarray(start.get(n, jnp.zeros(shape)), jnp.result_type(float)) for n, shape in shapes.items()}
    for name, leaf in full.items():
        if leaf.shape != shapes[name]:
            raise ValueError(f"start has {name!r} of shape {leaf.shape}; expected {shapes[name]}")
        if not bool(jnp.all(jnp.isfinite(leaf))):
            raise ValueError(f"start has non-finite values in {name!r}; expected finite latents")
    return full
