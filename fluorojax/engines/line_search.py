"""A line search for the strong Wolfe conditions that evaluates the energy at one place of the program.

The algorithm is that of ``optax.scale_by_zoom_linesearch`` with its default constants: bracketing and zoom of Nocedal &
Wright (Numerical Optimization, algorithms 3.5 and 3.6) with the approximate decrease of Hager & Zhang (ACM Trans. Math.
Softw. 32:113, 2006). There each phase has an energy of its own, so a large model is compiled twice and, under ``vmap``,
evaluated twice in every step. Here both phases choose a length, and one evaluation serves either.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, PyTree

_MAX_STEPS = 12
# Sufficient decrease and curvature: fractions of the first slope (Nocedal & Wright, eq. 3.7).
_DECREASE = 1e-4
_CURVATURE = 0.9
# The approximate condition serves where energies are within this fraction of the first: differences are lost there.
_APPROXIMATE = 1e-6
# An interval of lengths as short as this is searched no further.
_SHORTEST = 1e-5


class Step(NamedTuple):
    """Where a line search ended."""

    length: Float[Array, ""]
    """Multiple of the direction."""
    value: Float[Array, ""]
    gradient: PyTree


class _Point(NamedTuple):
    length: Array
    value: Array
    slope: Array


class _Search(NamedTuple):
    count: Int[Array, ""]
    now: _Point
    gradient: PyTree
    low: _Point
    high: _Point
    third: _Point
    """A third point for the cubic, the one that left the interval last."""
    safe: Step
    """The lowest point with sufficient decrease; of length zero before there is one."""
    bracketed: Bool[Array, ""]
    done: Bool[Array, ""]


def wolfe_step(
    value_and_grad: Callable[[PyTree], tuple[Float[Array, ""], PyTree]],
    position: PyTree,
    direction: PyTree,
    value: Float[Array, ""],
    gradient: PyTree,
) -> Step:
    """A step along ``direction`` that meets the strong Wolfe conditions, tried at full length first.

    **Arguments:** ``value`` and ``gradient`` of the energy at ``position``. An infinite ``value`` with a direction of
    zero evaluates the position itself. After twelve evaluations the lowest point with sufficient decrease is returned,
    and without any such point the last one that was tried, or the start where the last energy was not finite.
    """
    slope = jnp.asarray(optax.tree.vdot(direction, gradient))
    zero = jnp.zeros_like(value)
    begin = _Point(zero, value, slope)

    def step(state: _Search) -> _Search:
        length = jnp.where(state.count == 0, 1.0, 2.0 * state.now.length)
        length = jnp.where(state.bracketed, _between(state.low, state.high, state.third), length).astype(value.dtype)
        energy, new_gradient = value_and_grad(optax.tree.add_scale(position, length, direction))
        new = _Point(length, energy.astype(value.dtype), jnp.asarray(optax.tree.vdot(new_gradient, direction)))
        decrease = _decrease_error(new, begin)
        good = jnp.maximum(decrease, _error(jnp.abs(new.slope) - _CURVATURE * jnp.abs(slope))) <= 0.0
        lower = (decrease <= 0.0) & (~state.bracketed | (new.value < state.safe.value))
        safe = optax.tree.where(lower, Step(length, new.value, new_gradient), state.safe)

        widened, found = _widen(state, new, decrease)
        low, high, third = optax.tree.where(state.bracketed, _narrow(state, new, decrease), widened)
        narrow = state.bracketed & (jnp.abs(state.high.length - state.low.length) <= _SHORTEST) & (safe.length > 0.0)
        failed = ((state.count + 1 >= _MAX_STEPS) | narrow) & ~good
        retreat = failed & ((safe.length > 0.0) | jnp.isinf(decrease))
        now = _Point(jnp.where(retreat, safe.length, length), jnp.where(retreat, safe.value, new.value), new.slope)
        return _Search(
            count=state.count + 1,
            now=now,
            gradient=optax.tree.where(retreat, safe.gradient, new_gradient),
            low=low,
            high=high,
            third=third,
            safe=safe,
            bracketed=state.bracketed | found | good,
            done=good | failed,
        )

    no = jnp.zeros((), bool)
    start = Step(zero, value, gradient)
    first = _Search(jnp.zeros((), int), begin, gradient, begin, begin, begin, start, no, no)
    end = jax.lax.while_loop(lambda state: ~state.done, step, first)
    return Step(end.now.length, end.now.value, end.gradient)


def _widen(state: _Search, new: _Point, decrease: Array) -> tuple[tuple[_Point, _Point, _Point], Array]:
    """Bracketing: the interval between the last two points, and whether it holds a minimum."""
    last = state.now
    too_far = (decrease > 0.0) | ((new.value >= last.value) & (state.count > 0))
    rising = (new.slope >= 0.0) & ~too_far
    low, high = optax.tree.where(rising, (new, last), (last, new))
    return (low, high, low), too_far | rising


def _narrow(state: _Search, new: _Point, decrease: Array) -> tuple[_Point, _Point, _Point]:
    """Zoom: the part of the interval that holds a minimum."""
    low, high = state.low, state.high
    too_high = (decrease > 0.0) | (new.value >= low.value)
    turned = (new.slope * (high.length - low.length) >= 0.0) & ~too_high
    next_high = optax.tree.where(turned, low, optax.tree.where(too_high, new, high))
    return (
        optax.tree.where(too_high, low, new),
        next_high,
        optax.tree.where(too_high | turned, high, low),
    )


def _between(low: _Point, high: _Point, third: _Point) -> Array:
    """Where the cubic through the interval has its minimum, else the parabola, else half way."""
    left, right = jnp.minimum(low.length, high.length), jnp.maximum(low.length, high.length)
    width = right - left

    def inside(length: Array, margin: float) -> Array:
        # False where the length is not a number.
        return (length > left + margin * width) & (length < right - margin * width)

    cubic, parabola = _cubic_minimum(low, high, third), _parabola_minimum(low, high)
    middle = jnp.where(inside(parabola, 0.1), parabola, 0.5 * (low.length + high.length))
    return jnp.where(inside(cubic, 0.2), cubic, middle)


def _cubic_minimum(low: _Point, high: _Point, third: _Point) -> Array:
    """Of the cubic through three points with the slope of the first; not a number where there is none."""
    to_high, to_third = high.length - low.length, third.length - low.length
    over_high = high.value - low.value - low.slope * to_high
    over_third = third.value - low.value - low.slope * to_third
    scale = (to_high * to_third) ** 2 * (to_high - to_third)
    cube = (to_third**2 * over_high - to_high**2 * over_third) / scale
    square = (to_high**3 * over_third - to_third**3 * over_high) / scale
    return low.length + (-square + jnp.sqrt(square**2 - 3.0 * cube * low.slope)) / (3.0 * cube)


def _parabola_minimum(low: _Point, high: _Point) -> Array:
    """Of the parabola through two points with the slope of the first."""
    width = high.length - low.length
    bend = (high.value - low.value - low.slope * width) / width**2
    return low.length - low.slope / (2.0 * bend)


def _decrease_error(new: _Point, begin: _Point) -> Array:
    """By how much the decrease of the energy is too small; infinite where the energy is not a number."""
    exact = new.value - begin.value - _DECREASE * new.length * begin.slope
    by_slope = new.slope - (2.0 * _DECREASE - 1.0) * begin.slope
    by_value = new.value - begin.value - _APPROXIMATE * jnp.abs(begin.value)
    return _error(jnp.minimum(jnp.maximum(by_slope, by_value), exact))


def _error(excess: Array) -> Array:
    return jnp.where(jnp.isnan(excess), jnp.inf, jnp.maximum(excess, 0.0))
