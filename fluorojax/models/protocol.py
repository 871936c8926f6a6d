"""The protocol between a model file and the inference engines.

A model file is a Python module with a NumPyro program ``model(data: SceneData)`` that has

* latent sites that are all standard normal (``Normal(0, 1)``, any shape): the coordinates every engine works in;
* the spec parameters from :func:`spec_prior` (the latent site ``spec_base``), as many as the operator of the scene has;
* a deterministic site ``x``, the normalised attenuation, of the shape of the counts;
* a deterministic site ``rate``, the expected counts, of the same shape;
* one observed site, ``Poisson(rate)`` or ``Normal``, conditioned on ``data.counts``. Where the protocol of the scene
  has electronic noise, the engines take ``Poisson(rate)`` for counts with that noise (:mod:`fluorojax.engines.energy`):
  a model need not mention it. A ``Normal`` states all noise by itself.

The prior may have energies beside its latents (:func:`add_energy`), e.g. one that a network learned: the density of the
latents is then that of standard normals times ``exp(−energy)``, up to a constant that nobody needs to know.

Optional module attributes:

* ``ENERGIES``: names of the energies that the program adds.
* ``HYPERPARAMETERS``: names of latents that describe the prior. MAP holds them at zero, their prior median, because a
  joint MAP of fields and their amplitudes is biased; sampling engines sample them.
* ``AUX_ROUNDS``, ``initial_aux(data, spec)``, ``update_aux(data, sites)``: empirical Bayes. ``data.aux`` starts as
  ``initial_aux`` and is updated after each of the ``AUX_ROUNDS`` MAP solves but the last.
* ``carry_latents(data, aux, sites)``: the latents, all or some, that give under the new ``aux`` the image of ``sites``;
  the next solve starts there. Without it the latents stay as they are.
* ``latent_curvature(data, sites)``: the diagonal of the posterior precision of all scene latents (those that are not
  the spec or hyperparameters), of any accuracy; without it the engine estimates the diagonal from random probes.
* ``pixel_variance(data, sites)``: posterior variance of x at fixed spec; without it the engine draws linear-response
  samples instead.

Write a model for one scene: the engines batch it with ``vmap``. It must be traceable by ``jax.jit``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PyTree
from numpyro import handlers
from numpyro.distributions import Distribution, ExpandedDistribution, Independent, Normal, Poisson, Unit

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.physics.operator import FluoroscopyOperator

SPEC_SITE = "spec_base"
"""Name of the latent site that :func:`spec_prior` samples."""
# Keeps the inverse of the uniform-to-normal map finite at the edges of a range.
_EDGE = 1e-6


class SceneData(eqx.Module):
    """What a model sees of one scene: a pytree of arrays, batched by the engines."""

    counts: Float[Array, "*shape"]
    """Detected quanta, shape (T, H, W) or (H, W)."""
    acquisition: Acquisition
    ranges: SpecRanges
    operator: FluoroscopyOperator = FluoroscopyOperator()
    """The imaging chain of the scene: ``data.operator(x, spec, data.acquisition)`` are the expected counts."""
    aux: PyTree = None
    """Values that the hooks of the model estimated from the data, e.g. local scales; None before that."""


def spec_prior(ranges: SpecRanges) -> Spec:
    """Sample the spec parameters, uniform on their ranges, through standard-normal latents (site ``spec_base``).

    ``θ = low + (high − low)·Φ(z)``, z ~ N(0, 1). Registers each parameter as a deterministic site of its name.
    """
    base = numpyro.sample(SPEC_SITE, Normal(0.0, 1.0).expand((len(ranges.names),)).to_event(1))
    low, high = jnp.asarray(ranges.low), jnp.asarray(ranges.high)
    spec = Spec.from_array(low + (high - low) * norm.cdf(base), ranges.names)
    for name in spec.names:
        numpyro.deterministic(name, getattr(spec, name))
    return spec


def add_energy(name: str, residuals: Float[Array, "..."]) -> None:
    """Multiply the prior by ``exp(−½ Σ r²)`` for residuals r, any function of the latents, and of any shape.

    Registers the NumPyro factor ``name`` and the deterministic site ``name_residuals``. Every energy that is not
    negative can be written so, by ``r = √(2·energy)`` of each of its terms. The engines take ``½ Σ r²`` as part of the
    energy, and its Gauss–Newton matrix ``(∂r/∂ξ)ᵀ(∂r/∂ξ)`` as part of the metric. The module names its energies in
    ``ENERGIES``.
    """
    numpyro.deterministic(_residual_site(name), residuals)
    numpyro.factor(name, -0.5 * jnp.sum(residuals**2))


def _residual_site(name: str) -> str:
    return f"{name}_residuals"


def spec_of(sites: Mapping[str, Array], data: SceneData) -> Spec:
    """The spec among the values of a model's sites, as :func:`spec_prior` registered it."""
    return Spec.from_dict({name: sites[name] for name in data.ranges.names})


def spec_to_base(spec: Spec, ranges: SpecRanges) -> Float[Array, "*batch parameters"]:
    """The standard-normal coordinates of a spec; values on or beyond an edge of the range map to just inside it."""
    low, high = jnp.asarray(ranges.low), jnp.asarray(ranges.high)
    values = jnp.stack([jnp.asarray(getattr(spec, name)) for name in ranges.names], axis=-1)
    return norm.ppf(jnp.clip((values - low) / (high - low), _EDGE, 1 - _EDGE))


@jax.jit
def array_to_base(values: Float[Array, "*batch parameters"], ranges: SpecRanges) -> Float[Array, "*batch parameters"]:
    """:func:`spec_to_base` of an array whose last axis is in the order of ``ranges``.

    One compiled program: on the host each of its operations would be compiled by itself.
    """
    return spec_to_base(Spec.from_array(values, ranges.names), ranges)


@dataclass(frozen=True)
class SceneModel:
    """A loaded model file; see the module docstring for what each member means."""

    name: str
    model: Callable[[SceneData], None]
    hyperparameters: tuple[str, ...] = ()
    aux_rounds: int = 1
    initial_aux: Callable[[SceneData, Spec], PyTree] | None = None
    update_aux: Callable[[SceneData, Mapping[str, Array]], PyTree] | None = None
    carry_latents: Callable[[SceneData, PyTree, Mapping[str, Array]], Mapping[str, Array]] | None = None
    latent_curvature: Callable[[SceneData, Mapping[str, Array]], Mapping[str, Array]] | None = None
    pixel_variance: Callable[[SceneData, Mapping[str, Array]], Float[Array, "*shape"]] | None = None
    energies: tuple[str, ...] = ()

    def trace(self, data: SceneData, latents: Mapping[str, Array]) -> dict[str, Any]:
        """All sites of the model with its latents set to ``latents`` (NumPyro's trace dictionary)."""
        # The key is never used for a value: every latent is substituted.
        seeded = handlers.seed(handlers.substitute(self.model, data=dict(latents)), jax.random.key(0))
        return handlers.trace(seeded).get_trace(data)

    def sites(self, data: SceneData, latents: Mapping[str, Array]) -> dict[str, Array]:
        """Values of all latent and deterministic sites."""
        return observed_sites(self, data, dict(latents))[0]

    def energy_residuals(self, sites: Mapping[str, Array]) -> Float[Array, " residuals"]:
        """The residuals of all energies, as one vector, from the values of the sites of the model."""
        return jnp.concatenate([jnp.ravel(sites[_residual_site(name)]) for name in self.energies])

    def latent_shapes(self, data: SceneData) -> dict[str, tuple[int, ...]]:
        """Shapes of the latent sites, after checking that the model follows the protocol.

        Raises ``ValueError`` naming the model, the site and what was expected.
        """
        leaves, structure = jax.tree.flatten(data)
        return dict(_latent_shapes(self, structure, tuple(map(_abstract, leaves))))

    def check_hooks(self, data: SceneData) -> None:
        """Trace the optional hooks on one scene and check what they return.

        Raises ``ValueError`` naming the model, the hook and what was expected.
        """

        def result_of(hook: str, *arguments: Any) -> Any:
            # `sites` is the model itself: it has to run with what initial_aux returned.
            try:
                return jax.eval_shape(getattr(self, hook), *arguments)
            except Exception as error:  # the user's program, as in latent_shapes
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ValueError(
                    f"model {self.name}: {hook} cannot run on counts of shape {data.counts.shape}: {reason}"
                ) from error

        hooks = (self.initial_aux, self.update_aux, self.carry_latents, self.latent_curvature, self.pixel_variance)
        if all(hook is None for hook in hooks):
            return
        dtype, names = data.counts.dtype, data.ranges.names
        values = jax.ShapeDtypeStruct((len(names),), dtype)
        middle = jax.eval_shape(lambda values: Spec.from_array(values, names), values)
        aux = data.aux if self.initial_aux is None else result_of("initial_aux", data, middle)
        now = eqx.tree_at(lambda d: d.aux, data, aux, is_leaf=lambda leaf: leaf is None)
        latents = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in self.latent_shapes(data).items()}
        sites = result_of("sites", now, latents)
        if self.update_aux is not None:
            updated = result_of("update_aux", now, sites)
            if (found := _layout(updated)) != (expected := _layout(aux)):
                raise ValueError(
                    f"model {self.name}: update_aux returns {found}; expected the structure of initial_aux, {expected}"
                )
        if self.carry_latents is not None:
            carried = dict(result_of("carry_latents", now, aux, sites))
            _check_latents(self.name, "carry_latents", carried, {name: latents.get(name) for name in carried})
        if self.latent_curvature is not None:
            scene = {n: v for n, v in latents.items() if n != SPEC_SITE and n not in self.hyperparameters}
            _check_latents(self.name, "latent_curvature", dict(result_of("latent_curvature", now, sites)), scene)
        if self.pixel_variance is not None:
            shape = jnp.shape(result_of("pixel_variance", now, sites))
            if shape != data.counts.shape:
                raise ValueError(
                    f"model {self.name}: pixel_variance has shape {shape}; expected that of the counts, "
                    f"{data.counts.shape}"
                )


def is_factor(site: Mapping[str, Any]) -> bool:
    """Whether a site of a trace is a NumPyro factor."""
    return site["type"] == "sample" and isinstance(site["fn"], Unit)


def is_observation(site: Mapping[str, Any]) -> bool:
    """Whether a site of a trace is the observed counts."""
    return site["type"] == "sample" and site["is_observed"] and not is_factor(site)


@partial(jax.jit, static_argnames="model")
def observed_sites(
    model: SceneModel, data: SceneData, latents: dict[str, Array]
) -> tuple[dict[str, Array], Distribution, Array]:
    """Values of all latent and deterministic sites, and the distribution and the value of the observed one.

    The engines run a model through this function alone. JAX keeps what it has traced of a function that is compiled,
    so that the many places of a solver that need a model trace it once.
    """
    trace = model.trace(data, latents)
    observed = next(site for site in trace.values() if is_observation(site))
    values = {name: site["value"] for name, site in trace.items() if not site.get("is_observed")}
    return values, _base(observed["fn"]), observed["value"]


@lru_cache(maxsize=128)
def _latent_shapes(
    model: SceneModel, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]
) -> dict[str, tuple[int, ...]]:
    """:meth:`SceneModel.latent_shapes`, which an engine asks again and again for scenes of the same shapes."""
    data = jax.tree.unflatten(structure, leaves)

    def run(data: SceneData) -> None:
        traced.update(handlers.trace(handlers.seed(model.model, jax.random.key(0))).get_trace(data))

    def run_constants(data: SceneData) -> None:
        # Locations and scales that are computed from constants stay concrete, so that they can be checked. All else
        # that is constant is computed too, one operation after the other.
        with jax.ensure_compile_time_eval():
            run(data)

    traced: dict[str, Any] = {}
    try:
        jax.eval_shape(run, data)
        if not all(
            _is_standard_normal(s["fn"]) for s in traced.values() if s["type"] == "sample" and not s["is_observed"]
        ):
            jax.eval_shape(run_constants, data)
    except Exception as error:  # the model is the user's program: whatever it raises is an input error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"model {model.name}: cannot run on counts of shape {data.counts.shape}: {reason}") from error
    latents = {n: s for n, s in traced.items() if s["type"] == "sample" and not s["is_observed"]}
    for name, site in latents.items():
        if not _is_standard_normal(site["fn"]):
            raise ValueError(
                f"model {model.name}: latent site {name!r} is {type(_base(site['fn'])).__name__}; "
                "expected a standard normal, Normal(0, 1)"
            )
    for name in ("x", "rate"):
        if name not in traced or traced[name]["type"] != "deterministic":
            raise ValueError(f"model {model.name}: no deterministic site {name!r}; expected one")
        if traced[name]["value"].shape != data.counts.shape:
            raise ValueError(
                f"model {model.name}: site {name!r} has shape {traced[name]['value'].shape}; "
                f"expected that of the counts, {data.counts.shape}"
            )
    factors = [name for name, site in traced.items() if is_factor(site)]
    if sorted(factors) != sorted(model.energies):
        raise ValueError(
            f"model {model.name}: adds the energies {', '.join(factors) or 'none'}; expected those of ENERGIES, "
            f"{', '.join(model.energies) or 'none'}"
        )
    if bare := [name for name in factors if _residual_site(name) not in traced]:
        raise ValueError(f"model {model.name}: factor {bare[0]!r} has no residuals; expected a call of add_energy")
    observed = [s for s in traced.values() if is_observation(s)]
    if len(observed) != 1 or not isinstance(_base(observed[0]["fn"]), Poisson | Normal):
        raise ValueError(f"model {model.name}: expected exactly one observed site, Poisson or Normal")
    if SPEC_SITE not in latents:
        raise ValueError(f"model {model.name}: no latent site {SPEC_SITE!r}; expected a call of spec_prior")
    unknown = [name for name in model.hyperparameters if name not in latents]
    if unknown:
        raise ValueError(f"model {model.name}: HYPERPARAMETERS names {', '.join(unknown)}; no such latent sites")
    return {name: site["fn"].shape() for name, site in latents.items()}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _check_latents(model: str, hook: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    shapes = {name: jnp.shape(value) for name, value in found.items()}
    wanted = {name: None if value is None else jnp.shape(value) for name, value in expected.items()}
    if shapes != wanted:
        raise ValueError(f"model {model}: {hook} returns latents of shapes {shapes}; expected {wanted}")


def _layout(tree: PyTree) -> str:
    """Structure, shapes and types of a pytree in one line."""

    def of(leaf: Any) -> str:
        return f"{'×'.join(map(str, jnp.shape(leaf))) or 'scalar'} {jnp.result_type(leaf)}"

    return str(jax.tree.map(of, tree))


def _base(distribution: Distribution) -> Distribution:
    """The distribution inside ``to_event`` and ``expand``."""
    while isinstance(distribution, Independent | ExpandedDistribution):
        distribution = distribution.base_dist
    return distribution


def _is_standard_normal(distribution: Distribution) -> bool:
    base = _base(distribution)
    if not isinstance(base, Normal):
        return False
    try:
        return bool(np.all(np.asarray(base.loc) == 0) and np.all(np.asarray(base.scale) == 1))
    except jax.errors.TracerArrayConversionError:  # a location or scale computed from data is not standard
        return False
