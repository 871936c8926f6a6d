"""Scenes from seeds: patient, motion, imaging chain, noise."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Shaped

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.physics import CountStage, FluoroscopyOperator, RateStage, Scatter
from fluorojax.physics.scatter import SCATTER_RATIO, SCATTER_TAIL, SCATTER_WIDTH
from fluorojax.physics.slow_lag import SLOW_LAG_SHARE, SlowLag
from fluorojax.simulation import imaging_chain
from fluorojax.simulation.ct import project_volume
from fluorojax.simulation.devices import draw_devices
from fluorojax.simulation.motion import Breathing, HeartMotion
from fluorojax.simulation.options import SimulationOptions
from fluorojax.simulation.phantom import LAYERS, Phantom
from fluorojax.simulation.thorax import draw_thorax
from fluorojax.simulation.vessels import Bolus, draw_coronaries

X_MAX = 0.95
"""Largest x of a scene, to which the attenuation scale is chosen."""
SCATTER_MM = 55.0
"""Standard deviation of the scatter kernel, mm."""


@dataclass(frozen=True)
class _Streams:
    """Independent random streams, so that e.g. another dose leaves the patient and its motion unchanged."""

    anatomy: np.random.Generator
    motion: np.random.Generator
    spec: np.random.Generator
    noise: np.random.Generator

    @classmethod
    def of(cls, seed: int, index: int) -> "_Streams":
        for name, value in (("seed", seed), ("index", index)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
                raise ValueError(f"{name} is {value!r}; expected a whole number ≥ 0")
        children = np.random.SeedSequence([int(seed), int(index)]).spawn(4)
        return cls(*(np.random.default_rng(child) for child in children))


def frame_times(options: SimulationOptions) -> Float[np.ndarray, " T"]:
    """Frame times, ms, starting at 0."""
    return np.arange(options.frames) * (1000.0 / options.fps)


def build_phantom(seed: int, options: SimulationOptions, *, index: int = 0) -> Phantom:
    """The patient with devices that scene ``index`` of a seed shows, as a function of continuous time."""
    streams = _Streams.of(seed, index)
    if options.ct is not None:
        anatomy = project_volume(options.ct, streams.anatomy, options.shape)
    else:
        anatomy = draw_thorax(streams.anatomy, options.shape)
    grid, heart, rng = anatomy.grid, anatomy.heart_shape, streams.motion
    duration_ms = options.frames * 1000.0 / options.fps
    breathing = Breathing.draw(rng, grid.unit_mm)
    coronaries = draw_coronaries(streams.anatomy, grid, heart)
    devices, whip = draw_devices(rng, anatomy, coronaries.trunk, options.motion, duration_ms)
    heart_motion = HeartMotion.draw(rng, heart.centre, heart.axes, grid.unit_mm, breathing)
    bolus = Bolus.draw(rng, duration_ms)
    if options.contrast_start_ms is not None:
        bolus = replace(bolus, start_ms=float(options.contrast_start_ms))
    return Phantom(
        anatomy=anatomy,
        breathing=breathing,
        heart_motion=heart_motion,
        coronaries=coronaries,
        bolus=bolus,
        devices=devices,
        whip=whip,
    )


def simulate_scene(seed: int, options: SimulationOptions, *, index: int = 0, name: str = "sample_00") -> Scene:
    """Simulate one fluoroscopy run.

    **Arguments:**

    - `seed`, `index`: a non-negative seed and the number of the scene within it; together they fix everything.
    - `options`: what to simulate.
    - `name`: group name of the scene in a file.

    **Returns:** a :class:`fluorojax.data.scene.Scene` with counts ``y`` float32, (T, H, W) or, of one frame, (H, W),
    whole numbers unless there is read noise; the truth ``x_true`` of the same shape, optical depth at the frame times
    over the attenuation scale, in [0, 1]; and the spec parameters used.

    **Raises:** ``ValueError`` for a negative seed, or a CT volume that cannot be used.
    """
    streams = _Streams.of(seed, index)
    phantom = build_phantom(seed, options, index=index)
    grid, times = phantom.anatomy.grid, frame_times(options)
    truth = np.stack([phantom.attenuation(t) for t in times])
    # The scale is a published protocol value, so it is rounded up to what one would write down.
    scale = float(np.ceil(10.0 * truth.max() / X_MAX) / 10.0)
    acquisition = options.acquisition(scale)
    spec = _draw_spec(streams.spec, options)
    offset = spec.as_dict()

    protocol = acquisition.as_dict()
    window_ms = protocol["pulse_width_ms"] + offset["motion_blur"]
    signal = imaging_chain.expose(phantom.attenuation, times, window_ms, options.step_ms)
    from_dark = options.starts_from_dark
    signal = imaging_chain.lag(
        signal,
        protocol["lag_ms"] + offset["lag"],
        protocol["frame_time_ms"],
        protocol["readout_delay_ms"],
        from_dark=from_dark,
    )
    if (slow := options.operator.stage(SlowLag)) is not None:
        share = offset[SLOW_LAG_SHARE.name] if slow.parameters else float(slow.share)
        signal = imaging_chain.slow_tails(signal, from_dark=from_dark, share=share, frames=slow.frames)
    elif options.slow_tails:
        signal = imaging_chain.slow_tails(signal, from_dark=from_dark)
    signal = _with_scatter(signal, options, offset, grid.pixel_mm)
    expected = imaging_chain.rate(signal, options.photons, offset["gain_drift"])
    expected = _further_stages(options.operator, expected, spec, acquisition)

    # Speeds are sampled at 5 ms, which is far below the period of any motion.
    samples = np.linspace(times[0], times[-1], int(np.clip((times[-1] - times[0]) / 5.0, 8, 400)))
    return Scene(
        name=name,
        y=_as_scene(imaging_chain.count(streams.noise, expected, options.read_noise)),
        acquisition=acquisition,
        ranges=options.ranges(),
        metadata={
            "scene": phantom.anatomy.description,
            "shape": list(_as_scene(expected).shape),
            "noise_model": "poisson" if options.read_noise == 0 else "poisson+gaussian",
            "pixel_mm": round(grid.pixel_mm, 4),
            "motion": options.motion,
            "seed": [int(seed), int(index)],
            **({} if options.contrast_start_ms is None else {"contrast_start_ms": float(options.contrast_start_ms)}),
            "tier": options.tier,
            "device_speed_px_per_ms": phantom.speeds(samples),
            "readout": {
                "start": "dark" if from_dark else "steady",
                "read_noise": float(options.read_noise),
                "slow_tails": bool(options.slow_tails),
            },
        },
        x_true=_as_scene((truth / scale).astype(np.float32)),
        true_spec=spec,
        operator=options.operator,
    )


def _with_scatter(
    signal: Float[np.ndarray, "T H W"], options: SimulationOptions, spec: dict[str, float], pixel_mm: float
) -> Float[np.ndarray, "T H W"]:
    """Share and kernel of the scatter as the spec has them where the imaging chain does not know them."""
    fraction, width, tail = options.scatter_fraction, SCATTER_MM / pixel_mm, 0.0
    stage = options.operator.stage(Scatter)
    unknown = () if stage is None else stage.parameters
    if SCATTER_RATIO in unknown:
        fraction = spec[SCATTER_RATIO.name] / (1.0 + spec[SCATTER_RATIO.name])
    if SCATTER_WIDTH in unknown:
        width, tail = spec[SCATTER_WIDTH.name] * max(signal.shape[1:]), spec[SCATTER_TAIL.name]
    return imaging_chain.add_scatter(signal, fraction, width, tail)


def _further_stages(
    operator: FluoroscopyOperator, expected: Float[np.ndarray, "T H W"], spec: Spec, acquisition: Acquisition
) -> Float[np.ndarray, "T H W"]:
    """The stages that the stepped simulation has no code of its own for, applied by the operator's.

    They act on the rate within a frame or on the counts, so that they follow what the simulation has stepped through.
    """
    photons = acquisition.as_dict()["photons_per_pixel"]
    for stage in operator.stages:
        if isinstance(stage, RateStage) and not isinstance(stage, Scatter):
            expected = photons * np.asarray(stage(jnp.asarray(expected / photons, jnp.float32), spec, acquisition))
    for stage in operator.stages:
        if isinstance(stage, CountStage):
            expected = np.asarray(stage(jnp.asarray(expected, jnp.float32), spec, acquisition))
    return expected


def simulate_scenes(count: int, seed: int, options: SimulationOptions) -> Iterator[Scene]:
    """Simulate ``count`` runs named ``sample_00``, ``sample_01``, …; run i depends on ``(seed, i)`` only.

    Raises ``ValueError`` for a ``count`` that is not a positive whole number.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"count is {count!r}; expected a positive whole number of scenes")
    for index in range(count):
        yield simulate_scene(seed, options, index=index, name=f"sample_{index:02d}")


def render_layers(seed: int, options: SimulationOptions, *, index: int = 0) -> dict[str, Float[np.ndarray, "*shape"]]:
    """Optical depth of every layer at the frame times; their sum is ``attenuation_scale`` times ``x_true``."""
    return {name: _as_scene(layer) for name, layer in _layers(seed, options, index).items()}


def _layers(seed: int, options: SimulationOptions, index: int) -> dict[str, Float[np.ndarray, "T H W"]]:
    phantom = build_phantom(seed, options, index=index)
    frames = [phantom.layers(t) for t in frame_times(options)]
    return {name: np.stack([frame[name] for frame in frames]).astype(np.float32) for name in LAYERS}


def _as_scene(stack: Shaped[np.ndarray, "T H W"]) -> Shaped[np.ndarray, "*shape"]:
    """A stack as scenes hold it: a single frame is (H, W)."""
    return stack[0] if len(stack) == 1 else stack


def device_masks(
    seed: int, options: SimulationOptions, *, index: int = 0, threshold: float = 0.05
) -> dict[str, Bool[np.ndarray, "*shape"]]:
    """Where devices and filled vessels are, and which pixels see motion.

    ``device`` and ``vessel`` hold the pixels with at least ``threshold`` optical depth of that layer; ``moving`` those
    whose total optical depth varies by more than ``threshold`` over the run (the same in every frame).
    """
    layers = _layers(seed, options, index)
    total = np.sum(list(layers.values()), axis=0)
    moving = np.ptp(total, axis=0) > threshold
    masks = {
        "device": layers["device"] > threshold,
        "vessel": layers["vessel"] > threshold,
        "moving": np.broadcast_to(moving, total.shape).copy(),
    }
    return {name: _as_scene(mask) for name, mask in masks.items()}


def _draw_spec(rng: np.random.Generator, options: SimulationOptions) -> Spec:
    if options.spec is not None:
        return options.spec
    if not options.mismatch:
        return Spec.nominal(options.operator.parameters)
    ranges = options.ranges().as_dict()
    return Spec.from_dict({name: float(rng.uniform(*bounds)) for name, bounds in ranges.items()})
