"""Posterior samplers that a coverage check knows by name."""

from collections.abc import Callable

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.methods.registry import make_method, method_class, method_names
from fluorojax.validation.methods import Sampler, from_latent_draws
from fluorojax.validation.pipeline import stated_posterior
from fluorojax.validation.reference import laplace, nuts

REFERENCES: dict[str, Callable[[], Sampler]] = {
    "nuts": nuts,
    "laplace": laplace,
    "laplace-held": lambda: laplace(hold_hyperparameters=True),
}
"""Samplers that the check contains: a NUTS for many small scenes at once, and Gaussians for comparison."""


def sampler_names() -> tuple[str, ...]:
    """Names that :func:`make_sampler` accepts: the reconstruction methods, and :data:`REFERENCES`."""
    return tuple(dict.fromkeys((*method_names(), *REFERENCES)))


def make_sampler(name: str) -> Sampler:
    """The posterior sampler of a method; raises ``ValueError`` for an unknown name.

    A method with joint draws of its own (:meth:`fluorojax.methods.protocol.Method.latent_draws`) is checked by them,
    any other by the means and standard deviations that it states. Nothing takes the place of the method, whatever the
    scenes look like.
    """
    if name in REFERENCES:
        return REFERENCES[name]()
    if name not in method_names():
        raise ValueError(f"method is {name!r}; expected one of {', '.join(sampler_names())}")
    method = make_method(ReconstructOptions(method=name, fallback=False))
    if method_class(name).joint_draws:
        return from_latent_draws(method.latent_draws)
    return stated_posterior(method)
