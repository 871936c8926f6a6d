"""Size of a network: how many weights it has, and what one pass costs."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from fluorojax.learned.features import BLOCK, CHANNELS, CONDITIONS, SPAN, SpecState
from fluorojax.learned.networks import AnyNetwork

_SIDE = 64
_FRAMES = SPAN - SPAN % BLOCK


def weight_count(network: AnyNetwork) -> int:
    """Number of weights."""
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array)))


def operations(network: AnyNetwork) -> float:
    """Multiplications per pixel and frame of one pass, those of convolutions and matrix products.

    Found from the traced program for an image of 64 × 64 pixels, without running it. Products element by element, such
    as depthwise convolutions, normalisations and activations, do not count.
    """
    shape = jax.ShapeDtypeStruct
    if (solve := getattr(network, "solve", None)) is not None:
        spec = SpecState(*([shape((), jnp.float32)] * 8))  # pyright: ignore[reportArgumentType]
        counts = shape((_FRAMES, _SIDE, _SIDE), jnp.float32)
        program = jax.make_jaxpr(lambda c, s, p: solve(c, _FRAMES, s, p))(counts, spec, shape((), jnp.float32))
        return _products(program.jaxpr) / (_FRAMES * _SIDE**2)
    images, conditions = (
        shape((1, _SIDE, _SIDE, CHANNELS), jnp.float32),
        shape((1, CONDITIONS), jnp.float32),
    )
    program = jax.make_jaxpr(lambda i, c: network(i, c))(images, conditions)  # pyright: ignore[reportCallIssue]
    return _products(program.jaxpr) / (BLOCK * _SIDE**2)


def _products(program: Any) -> float:
    """Multiplications of the convolutions and matrix products of a program, loops included."""
    total = 0.0
    for equation in program.eqns:
        name, out = equation.primitive.name, [v.aval for v in equation.outvars]
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            sizes = equation.invars[0].aval.shape
            total += math.prod(out[0].shape) * math.prod(sizes[i] for i in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = equation.params["dimension_numbers"].rhs_spec[0]
            total += math.prod(out[0].shape) * math.prod(kernel) / kernel[outputs]
        repeats = equation.params.get("length", 1) if name == "scan" else 1
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += repeats * _products(inner)
    return total
