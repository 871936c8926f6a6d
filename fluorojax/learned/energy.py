"""An energy of image sequences that was learned from simulated ones: convex ridges of space-time filters.

The energy of the optical depth u is ``E(u) = Σ_k Σ_p ψ_k((w_k ∗ u)(p))`` with filters w_k of three frames and 5 × 5
pixels whose sum is zero, and convex ridges ``ψ_k(v) = μ_k δ_k² (√(1 + v²/δ_k²) − 1)``: quadratic for small responses,
as of noise, and linear for large ones, as of edges and moving devices. This is the convex ridge regulariser of Goujon
et al. (IEEE Trans. Comput. Imaging 9:1049, 2023, eq. 2), in space and time and with one kind of ridge.

``exp(−E)`` is trained as a density, by denoising score matching (Vincent, Neural Comput. 23:1661, 2011, eq. 11), and
not for the error of its mode, so that a posterior can be sampled with it. The shipped model ``learned`` has this prior.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.learned.data import Library

FRAMES, SIDE, FILTERS = 3, 5, 16
"""Size of a filter in frames and pixels, and number of filters."""
NOISE = 0.12
"""Standard deviation of the noise of the training, in optical depth: that of single pixels at 70 counts."""
_PATCH, _LENGTH, _BATCH = 28, 8, 8


class RidgeEnergy(eqx.Module):
    """The energy; see the module docstring."""

    filters: Float[Array, "filters frames side side"]
    """w_k before their mean is taken off."""
    log_weight: Float[Array, " filters"]
    """log μ_k."""
    log_knee: Float[Array, " filters"]
    """log δ_k."""

    def __init__(self, key: PRNGKeyArray, filters: int = FILTERS):
        self.filters = jax.random.normal(key, (filters, FRAMES, SIDE, SIDE)) / np.sqrt(FRAMES * SIDE**2)
        self.log_weight = jnp.full(filters, np.log(20.0))
        self.log_knee = jnp.full(filters, np.log(0.05))

    def responses(self, depth: Float[Array, "T H W"]) -> Float[Array, "filters T H W"]:
        """``w_k ∗ u`` of an optical depth, continued by its edge values; T ≥ 1."""
        centred = self.filters - jnp.mean(self.filters, axis=(1, 2, 3), keepdims=True)
        padded = jnp.pad(depth, [(n // 2, n // 2) for n in (FRAMES, SIDE, SIDE)], mode="edge")
        # Frames of the window as channels: one convolution of images, which XLA does well on every device.
        windows = jnp.stack([padded[k : k + depth.shape[0]] for k in range(FRAMES)], axis=-1)
        kernel = jnp.transpose(centred, (2, 3, 1, 0)).astype(depth.dtype)
        found = jax.lax.conv_general_dilated(
            windows, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )
        return jnp.moveaxis(found, -1, 0)

    def residuals(self, depth: Float[Array, "T H W"]) -> Float[Array, "filters T H W"]:
        """r with ``E = ½ Σ r²``, smooth and of the sign of the response: ``r = v·√(2μ / (1 + √(1 + v²/δ²)))``."""
        response = self.responses(depth)
        weight, knee = (
            jnp.exp(values).astype(depth.dtype)[:, None, None, None] for values in (self.log_weight, self.log_knee)
        )
        return response * jnp.sqrt(2.0 * weight / (1.0 + jnp.sqrt(1.0 + (response / knee) ** 2)))

    def __call__(self, depth: Float[Array, "T H W"]) -> Float[Array, ""]:
        """E."""
        return 0.5 * jnp.sum(self.residuals(depth) ** 2)


def score_matching_loss(
    energy: RidgeEnergy, clean: Float[Array, "B T H W"], noise: Float[Array, "B T H W"]
) -> Float[Array, ""]:
    """Mean of ``(σ ∂E/∂u(u + σn) − n)²`` over the inner pixels: below one by what the energy knows of the noise."""

    def one(clean: Array, noise: Array) -> Array:
        slope = jax.grad(energy)(clean + NOISE * noise)
        inner = (slice(FRAMES // 2, -(FRAMES // 2)), *(slice(SIDE, -SIDE),) * 2)
        return jnp.mean((NOISE * slope - noise)[inner] ** 2)

    return jnp.mean(jax.vmap(one)(clean, noise))


def train_energy(
    folder: Path,
    *,
    steps: int = 1500,
    seed: int = 0,
    learning_rate: float = 3e-3,
    start: RidgeEnergy | None = None,
    report: Callable[[float, str], None] = lambda share, line: None,
) -> tuple[RidgeEnergy, dict[str, Any]]:
    """Train an energy on patches of simulated sequences.

    **Arguments:** ``folder`` of shards of sequences (:func:`fluorojax.learned.scenes.write_shards`); ``seed`` of the
    first filters, the patches and the noise; ``start`` an energy to go on with; ``report`` is told the share that is
    done and the loss so far.

    **Returns** the energy and its recipe. **Raises** ``ValueError`` for a folder without shards or where the loss is
    not finite.
    """
    library = Library(folder)
    if not library.sequences:
        raise ValueError(f"{folder}: no shards of training sequences; expected shard_*.npz")
    energy = RidgeEnergy(jax.random.key(seed)) if start is None else start
    transform = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    state, rng = transform.init(eqx.filter(energy, eqx.is_inexact_array)), np.random.default_rng([seed, 1])

    @eqx.filter_jit
    def step(energy: RidgeEnergy, state: optax.OptState, clean: Array, noise: Array) -> tuple:
        loss, gradient = eqx.filter_value_and_grad(score_matching_loss)(energy, clean, noise)
        updates, state = transform.update(gradient, state)
        return eqx.apply_updates(energy, updates), state, loss

    losses: list[float] = []
    for count in range(1, steps + 1):
        clean = jnp.asarray(np.stack([_patch(rng, library) for _ in range(_BATCH)]))
        noise = jnp.asarray(rng.standard_normal(clean.shape), clean.dtype)
        energy, state, loss = step(energy, state, clean, noise)
        losses.append(float(loss))
        if not np.isfinite(losses[-1]):
            raise ValueError(f"the loss was not finite at step {count} of the training of an energy")
        if count % 50 == 0 or count == steps:
            report(count / steps, f"step {count}, loss {np.mean(losses[-200:]):.4f}")
    kinds = [sequence.kind for sequence in library.sequences]
    return energy, {
        "architecture": "ridge-energy",
        "steps": steps,
        "seed": seed,
        "noise": NOISE,
        "learning_rate": learning_rate,
        "loss": round(float(np.mean(losses[-200:])), 4),
        "scenes": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
    }


def _patch(rng: np.random.Generator, library: Library) -> Float[np.ndarray, "T H W"]:
    """A patch of a sequence, mirrored and reversed at random."""
    depth = library.sequences[rng.integers(len(library.sequences))].depth
    frames = min(_LENGTH, len(depth))
    corner = [int(rng.integers(0, n - size + 1)) for n, size in zip(depth.shape, (frames, _PATCH, _PATCH), strict=True)]
    cut = depth[tuple(slice(a, a + n) for a, n in zip(corner, (frames, _PATCH, _PATCH), strict=True))]
    patch = np.flip(cut.astype(np.float32), tuple(axis for axis in range(3) if rng.random() < 0.5))
    patch = patch.transpose(0, 2, 1) if rng.random() < 0.5 else patch
    return np.pad(patch, ((0, _LENGTH - frames), (0, 0), (0, 0)), mode="edge")


def save_energy(file: Path, energy: RidgeEnergy, recipe: dict[str, Any]) -> None:
    """Write an energy and its recipe as ``.npz``, atomically."""
    from fluorojax.learned.weights import named_arrays, write_arrays

    write_arrays(file, named_arrays(energy), recipe)


@lru_cache(maxsize=4)
def load_energy(file: Path | None = None) -> RidgeEnergy:
    """An energy from a file, by default the shipped one. **Raises** ``ValueError`` naming a file that is none."""
    from fluorojax.learned.weights import read_arrays, with_arrays

    path = Path(__file__).parent / "weights" / "ridge_energy.npz" if file is None else file
    arrays, facts = read_arrays(path)
    if facts.get("architecture") != "ridge-energy":
        raise ValueError(f"{path}: holds {facts.get('architecture')!r}; expected a ridge-energy")
    shapes = {name: array.shape for name, array in arrays.items()}
    count = shapes.get(".filters", (0,))[0]
    try:
        fresh = eqx.filter_eval_shape(RidgeEnergy, jax.random.key(0), count)
        with jax.ensure_compile_time_eval():  # a model may load it while it is traced
            return with_arrays(fresh, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
