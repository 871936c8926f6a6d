"""The causal filter of a live view, over a recorded run: the results of :func:`fluorojax.streaming.step`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float

from fluorojax.calibration.identifiability import describe
from fluorojax.calibration.posterior import Marginal, SpecPosterior
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import PUBLISHED
from fluorojax.methods.protocol import Job, NotServed, SceneMethod
from fluorojax.physics.operator import PUBLISHED_OPERATOR

if TYPE_CHECKING:
    from fluorojax.streaming.state import State

# Half the range of a gain drift that is given, %/frame: the tracker wants a range.
_GIVEN = 1e-3
_POINTS = 201


@dataclass(frozen=True)
class StreamMethod(SceneMethod):
    """The estimate of each frame from this frame and the ones before; see :mod:`fluorojax.streaming`.

    The filter finds the gain drift by itself while the frames come. It takes from the calibration, which has seen the
    whole run, the time constant of the lag alone; ``--spec nominal`` and ``--spec true`` give it the drift as well.
    """

    label: ClassVar[str] = "fluorojax stream"
    summary: ClassVar[str] = (
        "Each frame from itself and the frames before it, as in a live view: for comparison, and where later frames "
        "must have no influence."
    )
    uses_model: ClassVar[bool] = False

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "StreamMethod":
        """The filter has no settings here."""
        return cls()

    def seconds(self, frames: int, pixels: int) -> float:
        """See :class:`~fluorojax.methods.protocol.Method`: 75 processor ms for a frame of 512 × 512 pixels."""
        return 0.075 * frames * pixels / 512**2

    def unserved(self, scene: Scene) -> list[str]:
        """See :class:`~fluorojax.methods.protocol.Method`."""
        return _unserved(scene)

    def run(self, job: Job) -> Reconstruction:
        """See :class:`~fluorojax.methods.protocol.SceneMethod`.

        Raises :class:`~fluorojax.methods.protocol.NotServed` for a single frame, a frame of fewer than 4 rows or
        columns, an imaging chain with other stages than the published one, and scatter.
        """
        from fluorojax.streaming.learning import live_network
        from fluorojax.streaming.state import start

        scene, known = job.scene, job.posterior
        if reasons := self.unserved(scene):
            raise NotServed(scene.name, "stream", reasons)
        marginal = known.marginals["gain_drift"]
        ranges = scene.ranges.as_dict()["gain_drift"]
        given = (marginal.mean - _GIVEN, marginal.mean + _GIVEN)
        state = start(
            scene.acquisition,
            scene.y.shape[1:],
            drift_range=given if marginal.known else ranges,
            lag=known.marginals["lag"].mean,
            network=live_network(),
        )
        x, sd, drift, drift_std = (np.asarray(part) for part in _filtered(state, np.asarray(scene.y, np.float32)))
        found = known if marginal.known else _with_drift(known, ranges, float(drift), float(drift_std))
        finite = bool(np.isfinite(x).all() and np.isfinite(sd).all())
        return Reconstruction(
            name=scene.name,
            x_hat=x,
            x_std=sd,
            spec=found.spec,
            spec_std=found.std,
            spec_interval=found.interval,
            status=Status.CONVERGED if finite else Status.DIVERGED,
            seconds=math.nan,
            diagnostics=describe(found, None, scene.ranges),
        )


@jax.jit
def _filtered(
    state: "State", counts: Float[Array, "T H W"]
) -> tuple[Float[Array, "T H W"], Float[Array, "T H W"], Float[Array, ""], Float[Array, ""]]:
    """Estimates and standard deviations of all frames, and the gain drift that the last one leaves."""
    from fluorojax.streaming.state import step

    def one(state: "State", frame: Array) -> tuple["State", tuple[Array, Array]]:
        state, x, sd = step(state, frame)
        return state, (x, sd)

    last, (x, sd) = jax.lax.scan(one, state, counts)
    return x, sd, *last.gain_drift


def _with_drift(known: SpecPosterior, span: tuple[float, float], mean: float, std: float) -> SpecPosterior:
    """The calibration with the drift that the filter found, a normal distribution within its range."""
    middle = min(max(mean, span[0]), span[1])
    reach = 6.0 * max(std, 1e-6)
    grid = np.linspace(max(span[0], middle - reach), min(span[1], middle + reach), _POINTS)
    drift = Marginal.from_log(grid, -0.5 * ((grid - mean) / max(std, 1e-6)) ** 2)
    marginals: Mapping[str, Marginal] = {**known.marginals, "gain_drift": drift}
    return SpecPosterior(dict(marginals), known.parameters)


def _unserved(scene: Scene) -> list[str]:
    """Clauses on why the filter cannot take a scene; empty where it can."""
    if scene.y.ndim != 3:
        return ["it has one frame, and the filter needs at least 2"]
    if min(scene.y.shape[1:]) < 4:
        return [f"its frames have {scene.y.shape[1]} × {scene.y.shape[2]} pixels, and the filter needs at least 4 × 4"]
    known = {stage.name for stage in PUBLISHED_OPERATOR.stages}
    if other := [stage.name for stage in scene.operator.stages if stage.name not in known]:
        return [f"its imaging chain has the stage {', '.join(other)}, which the filter does not know"]
    if scene.acquisition.as_dict()["scatter_fraction"] > 0:
        return ["its counts contain scatter, which the filter does not know"]
    if scene.operator.parameters != PUBLISHED:
        names = ", ".join(parameter.name for parameter in scene.operator.parameters)
        return [f"its imaging chain has the parameters {names}, and the filter knows the published ones"]
    return []
