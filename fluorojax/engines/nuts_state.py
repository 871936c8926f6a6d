"""The coordinates in which NUTS moves, and the file that holds a run so that it can be continued.

The posterior of the whitened latents is approximated at a reference point by a Gaussian of precision M = JᵀFJ + 1
(:mod:`fluorojax.engines.energy`). With the latents split into fields f (the scene) and shared latents s (chain and
hyperparameters), the block factorisation ``M = Uᵀ·diag(M_ff, S)·U`` with the Schur complement
``S = M_ss − M_sf M_ff⁻¹ M_fs`` says how to decorrelate them: when s moves, f follows by ``−M_ff⁻¹ M_fs δs``. Without
that, a change of gain drift or of a spectrum's amplitude at fixed fields is resisted by every pixel, and trajectories
crawl along the valley.
"""

import hashlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key, PyTree

from fluorojax.engines.energy import Latents, diagonal_scale, posterior
from fluorojax.engines.online_statistics import Watch
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel

Position = dict[str, Array]

# Shared latents each cost one linear solve, one column of the response and a row of the dense mass matrix.
_MAX_SHARED = 64
# Relative residual and most iterations of those solves: what is left over only slows the sampler.
_TOLERANCE = 1e-2
_MAX_ITERATIONS = 60


def shared_sites(model: SceneModel, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The chain's latents, then those hyperparameters that still fit among 64 numbers; the others count as fields."""
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
    2007). R is what remains of the linear response. It acts on the bent ``b(s) = √(2π)·(Φ(s) − ½)`` of the chain's
    latents, so that it is linear in the chain's parameters themselves.

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
        chain = np.arange(shared.size) < int(np.prod(self.shapes[0][1]))
        return jnp.where(chain, jnp.sqrt(2 * jnp.pi) * (norm.cdf(shared) - 0.5), shared)


def make_coordinates(
    model: SceneModel, data: SceneData, start: Latents, key: Key[Array, ""], hold: bool = False
) -> Coordinates:
    """Sampling coordinates around ``start``, such as the latents of a MAP solve; pure and traceable.

    ``start`` names every latent. The spec parameters may stand at any value inside their ranges. ``hold`` keeps the
    model's hyperparameters at their values.
    """
    held = {name: start[name] for name in model.hyperparameters} if hold else {}
    free = {name: leaf for name, leaf in start.items() if name not in held}
    shapes = {name: leaf.shape for name, leaf in free.items()}
    names = (SPEC_SITE,) if hold else shared_sites(model, shapes)
    shared = {name: free[name] for name in names}
    fields = {name: leaf for name, leaf in free.items() if name not in shared}
    target = posterior(model, data, shared | held)
    scale = diagonal_scale(target, fields, key, probes=16)

    _, push = jax.linearize(target.rate, fields)
    pull = jax.linear_transpose(push, fields)
    information = target.information(fields)

    def metric(step: Latents) -> Latents:
        unscaled = jax.tree.map(jnp.multiply, scale, step)
        curvature = pull(information * push(unscaled))[0]
        return jax.tree.map(lambda s, u, c: s * (u + c), scale, unscaled, curvature)

    def respond(change: Float[Array, "*shape"]) -> Latents:
        right = jax.tree.map(jnp.multiply, scale, pull(-information * change)[0])
        solution, _ = jax.scipy.sparse.linalg.cg(metric, right, tol=_TOLERANCE, maxiter=_MAX_ITERATIONS)
        return jax.tree.map(jnp.multiply, scale, solution)

    flat = jnp.concatenate([shared[name].ravel() for name in names])
    chain = np.arange(flat.size) < shared[SPEC_SITE].size

    def at(values: Float[Array, "shared"]) -> Latents:
        ends = np.cumsum([shared[name].size for name in names])
        return {n: values[e - shared[n].size : e].reshape(shared[n].shape) for n, e in zip(names, ends, strict=True)}

    def pulled(values: Float[Array, "shared"], sign: Float[Array, "*shape"]) -> Latents:
        """``(∂x/∂f)ᵀ·sign`` at other shared latents: proportional to a field's amplitude in x."""
        return jax.vjp(posterior(model, data, at(values) | held).x, fields)[1](sign)[0]

    signs = jax.random.rademacher(key, (4, *data.counts.shape), flat.dtype)

    def relative_amplitude(direction: Float[Array, "shared"]) -> Latents:
        """``∂log a/∂s`` of every field, by least squares over random pixel signs; exact where x is a·f."""

        def terms(sign: Float[Array, "*shape"]) -> tuple[Latents, Latents]:
            here, change = jax.jvp(lambda values: pulled(values, sign), (flat,), (direction,))
            return jax.tree.map(jnp.square, here), jax.tree.map(jnp.multiply, here, change)

        squares, products = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.lax.map(terms, signs))
        return jax.tree.map(lambda product, square: product / (square + 1e-30), products, squares)

    def follow(direction: Float[Array, "shared"]) -> tuple[Latents, Float[Array, "*shape"]]:
        change = jax.jvp(lambda values: posterior(model, data, fields | held).rate(at(values)), (flat,), (direction,))[
            1
        ]
        fields_change = respond(change)
        # What the fields could not undo, weighted to unit noise: the rows of the Schur complement's factor.
        return fields_change, jnp.sqrt(information) * (change + push(fields_change))

    unit = jnp.eye(flat.size, dtype=flat.dtype)
    response, residual = jax.lax.map(follow, unit)
    hyper = jnp.asarray(~chain, flat.dtype)  # the chain acts on the rate, not on the fields' amplitudes
    centring = jax.tree.map(
        lambda c, d: hyper.reshape(-1, *(1,) * d.ndim) * c * (1.0 - d**2),
        jax.lax.map(relative_amplitude, unit),
        scale,
    )

    def gram(columns: Latents, weight: Latents) -> Float[Array, "shared shared"]:
        rows = [columns[n].reshape(flat.size, -1) * jnp.sqrt(weight[n].ravel()) for n in columns]
        return sum((row @ row.T for row in rows), jnp.zeros((flat.size, flat.size), flat.dtype))

    # Written as a sum of squares it stays positive where the solves are inexact, with an error of second order.
    residual = residual.reshape(flat.size, -1)
    schur = residual @ residual.T + gram(response, jax.tree.map(jnp.ones_like, fields)) + unit
    # Centred fields bend their prior, ½f²·exp(−2C·δs): its second derivative beyond the square counted above.
    schur += gram(centring, jax.tree.map(lambda f, d: f**2 + 2.0 * d**2, fields, scale))
    lower = jnp.linalg.cholesky(0.5 * (schur + schur.T))
    spread = jax.scipy.linalg.solve_triangular(lower, unit, lower=True).T

    response = jax.tree.map(lambda r, c, f: r + c * f, response, centring, fields)
    # d(bend)/ds = exp(−s²/2) for the chain's latents, one for the others; bounded for a start on an edge of a range.
    slope = jnp.where(chain, jnp.exp(-0.5 * jnp.minimum(flat**2, 9.0)), 1.0)
    response = jax.tree.map(lambda leaf: leaf / slope.reshape(-1, *(1,) * (leaf.ndim - 1)), response)
    sites = tuple((name, shapes[name]) for name in names)
    return Coordinates(flat, spread, fields, scale, response, centring, held, sites)


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


def fingerprint(
    model: SceneModel,
    data: SceneData,
    settings: Mapping[str, Any],
    watch: Watch,
    key: Array,
    spec_quantiles: np.ndarray | None = None,
) -> dict[str, str]:
    """SHA-256 of what a run is determined by: model source, data without ``aux``, settings, seed, spec posterior."""
    try:
        file = inspect.getsourcefile(model.model)
        source = Path(file).read_bytes() if file else inspect.getsource(model.model).encode()
    except (OSError, TypeError):  # defined at a prompt
        code = model.model.__code__
        source = repr((code.co_code, code.co_names, code.co_consts)).encode()
    # `aux` is an estimate from these data, and the file holds the one in use.
    known = jax.tree.leaves((data.counts, data.acquisition, data.ranges, spec_quantiles))
    arrays = [np.asarray(leaf, np.float32) for leaf in known]
    places = (np.asarray(watch.pixels).tobytes(), np.asarray(watch.regions).tobytes())
    return {
        "model": _digest(source, repr((model.model.__qualname__, model.hyperparameters)).encode()),
        "data": _digest(*(repr(a.shape).encode() + a.tobytes() for a in arrays)),
        "settings": _digest(repr(sorted(settings.items())).encode(), repr(watch.names).encode(), *places),
        "seed": _digest(np.asarray(jax.random.key_data(key)).tobytes()),
    }


class ForeignStateError(ValueError):
    """A state file that is none, or of another run; ``reason`` says which, without the name of the file."""

    def __init__(self, path: Path, reason: str, expected: str):
        super().__init__(f"resume is {path}: {reason}; expected {expected}")
        self.reason = reason


def save_state(path: str | os.PathLike[str], state: PyTree, marks: Mapping[str, str], iteration: int) -> None:
    """Write a pytree of arrays to an HDF5 file that appears whole or not at all; raises ``OSError``."""
    path = Path(path)
    temporary = path.with_name(path.name + ".writing")
    try:
        with h5py.File(temporary, "w") as handle:
            handle.attrs["format"] = "fluorojax NUTS state 1"
            handle.attrs["iteration"] = iteration
            for name, digest in marks.items():
                handle.attrs[f"sha256 of {name}"] = digest
            for name, leaf in _named(state):
                handle[name] = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: str | os.PathLike[str], like: PyTree, marks: Mapping[str, str]) -> tuple[PyTree, int]:
    """Read a state of the structure of ``like`` and its iteration; leaves of size 0 in ``like`` may have any length.

    Raises :class:`ForeignStateError` naming the file and what was expected where it is no state, or one of another run,
    and ``ValueError`` where it may not be read.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as handle:
            return _read_state(handle, path, like, marks)
    except OSError as error:
        # With an error number the system refused the file; without one it is HDF5 that finds no sense in it.
        what = " ".join(str(error).split())
        if error.errno is not None:
            raise ValueError(f"resume is {path}: cannot be read ({what}); expected a readable state file") from error
        raise ForeignStateError(path, f"cannot be read as HDF5 ({what})", "a NUTS state file") from error
    except ForeignStateError:
        raise
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # what h5py raises where a file is damaged
        what = " ".join(str(error).split())
        raise ForeignStateError(path, f"is damaged ({what})", "a NUTS state file") from error


def _read_state(handle: h5py.File, path: Path, like: PyTree, marks: Mapping[str, str]) -> tuple[PyTree, int]:
    if handle.attrs.get("format") != "fluorojax NUTS state 1":
        raise ForeignStateError(path, "not a NUTS state file of this version", "one")
    if other := [name for name, digest in marks.items() if handle.attrs.get(f"sha256 of {name}") != digest]:
        reason = f"state of a run with other {', '.join(other)}"
        raise ForeignStateError(path, reason, "the same run (--overwrite, or deleting it, starts afresh)")
    leaves = []
    for name, leaf in _named(like):
        wanted = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        dataset = handle.get(name)
        if not isinstance(dataset, h5py.Dataset) or not _fits(dataset, wanted):
            raise ForeignStateError(path, f"{name} is missing or of another shape", str(wanted.shape))
        values = dataset[()]
        leaves.append(jax.random.wrap_key_data(jnp.asarray(values)) if _is_key(leaf) else values)
    iteration = np.asarray(handle.attrs["iteration"])
    if iteration.shape != () or iteration.dtype.kind not in "iu" or iteration < 0:
        raise ForeignStateError(path, f"its iteration is {iteration}", "a whole number")
    return jax.tree.unflatten(jax.tree.structure(like), leaves), int(iteration)


def _fits(dataset: h5py.Dataset, wanted: Any) -> bool:
    if dataset.dtype != wanted.dtype or len(dataset.shape) != len(wanted.shape):
        return False
    return all(size in (have, 0) for size, have in zip(wanted.shape, dataset.shape, strict=True))


def _named(tree: PyTree) -> list[tuple[str, Any]]:
    """Leaves with names such as ``chains.hmc.z.fields``; a slash would make HDF5 groups of a site's name."""
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path).replace("/", "|"), leaf) for path, leaf in pairs]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
