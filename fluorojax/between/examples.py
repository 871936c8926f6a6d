"""Training examples: runs of a low frame rate with the truth between their frames.

Noise-free sequences (:mod:`fluorojax.learned.scenes`) have 7.5 to 30 frames/s. Every second, third or fourth frame of
one is a run of a lower rate, and the frames that it leaves out are the truth between. Counts of the run are simulated,
and the shipped network of the learned posterior makes means and standard deviations of them: with the errors, and the
correlation of errors, that the network between the frames will see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fluorojax.between.flow import flow_between
from fluorojax.between.network import Neighbours
from fluorojax.io.atomic import atomic_stream
from fluorojax.learned.data import acquire
from fluorojax.learned.features import PARAMETERS
from fluorojax.learned.inference import posterior
from fluorojax.learned.networks import AnyNetwork
from fluorojax.learned.scenes import CleanSequence, read_shard

SIDE = 96
"""Pixels of a side of a run."""
COUNTS = (5.0, 300.0)
"""Range of the mean counts behind the patient, drawn on a log scale."""
_STRIDES = {7.5: (2,), 10.0: (2,), 15.0: (2,), 25.0: (2, 3), 30.0: (2, 2, 3, 4, 4)}
_LENGTHS = (4, 6, 8)  # few, because the network is compiled for each
_KEPT = "the finished runs are kept, and the same command continues once the disk can be written"


@dataclass(frozen=True)
class SlowRun:
    """One run of a low frame rate; optical depths, float16."""

    mean: Float[np.ndarray, "T H W"]
    """Posterior means of the frames."""
    std: Float[np.ndarray, "T H W"]
    """Posterior standard deviations of the frames."""
    truth: Float[np.ndarray, "S H W"]
    """Truth at the frames and between: S = (T − 1)·stride + 1."""
    flow: Float[np.ndarray, "gaps between 2 H W"]
    """Motion at every time between, see :func:`fluorojax.between.flow.flow_between`."""

    @property
    def stride(self) -> int:
        """Steps of the truth from one frame to the next."""
        return self.flow.shape[1] + 1


def slow_run(rng: np.random.Generator, sequence: CleanSequence, network: AnyNetwork) -> SlowRun | None:
    """A run from a sequence; None for half of the sequences of 7.5 and 10 frames/s, whose runs are the slowest."""
    if sequence.fps <= 10.0 and rng.random() < 0.5:
        return None
    stride = int(rng.choice(_STRIDES[sequence.fps]))
    most = (len(sequence.depth) - 1) // stride + 1
    frames = max(n for n in _LENGTHS if n <= most)
    steps = (frames - 1) * stride
    first = int(rng.integers(0, len(sequence.depth) - steps))
    top, left = rng.integers(0, np.array(sequence.depth.shape[1:]) - SIDE + 1)
    part = slice(first, first + steps + 1), slice(top, top + SIDE), slice(left, left + SIDE)
    depth = sequence.depth[part]
    level = np.exp(rng.uniform(*np.log(COUNTS)))
    photons, period = float(level / np.exp(-sequence.depth[0]).mean()), 1000.0 * stride / sequence.fps
    smear = (sequence.smeared[part] - depth)[::stride]
    run = acquire(rng, depth[::stride], smear, photons=photons, frame_time_ms=period)
    spec = run.spec
    protocol = {
        "photons_per_pixel": photons,
        "attenuation_scale": 1.0,
        "frame_time_ms": period,
        "pulse_width_ms": float(np.asarray(spec.window_ms)),
        "lag_ms": float(np.asarray(spec.tau_ms)),
        "readout_delay_ms": float(np.asarray(spec.readout_delay_ms)),
        "scatter_fraction": 0.0,
    }
    mean = {"gain_drift": float(np.asarray(spec.drift))}
    std = {"motion_blur": spec.window_std, "lag": spec.tau_std, "gain_drift": spec.drift_std}
    found = posterior(
        network,
        run.counts,
        protocol,
        np.array([mean.get(name, 0.0) for name in PARAMETERS]),
        np.array([float(np.asarray(std[name])) for name in PARAMETERS]),
        mirrors=1,
        response=False,
    )
    flow = [
        [
            flow_between(a, b, step / stride, float(np.sqrt(np.mean(s**2, dtype=np.float64))))
            for step in range(1, stride)
        ]
        for a, b, s in zip(found.mean[:-1], found.mean[1:], found.std[:-1], strict=True)
    ]
    half = (values.astype(np.float16) for values in (found.mean, found.std, depth, np.array(flow)))
    return SlowRun(*half)


def write_slow_runs(
    folder: Path, output: Path, network: AnyNetwork, *, seed: int, report: Callable[[int, int], None] | None = None
) -> None:
    """Make runs of every shard of sequences in ``folder``; finished files in ``output`` are kept.

    **Raises:** ``ValueError`` for a folder without shards, :class:`fluorojax.io.InputError` for a full disk.
    """
    files = sorted(folder.glob("shard_*.npz"))
    if not files:
        raise ValueError(f"{folder}: no shards of training sequences; expected shard_*.npz")
    output.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        made = output / file.name
        if not made.exists():
            arrays = {}
            for index, sequence in enumerate(read_shard(file)):
                run = slow_run(np.random.default_rng([seed, number, index]), sequence, network)
                if run is not None:
                    arrays |= {f"{name}_{index}": values for name, values in vars(run).items()}
            with atomic_stream(made, overwrite=True, advice=_KEPT) as stream:
                np.savez(stream, **arrays)  # pyright: ignore[reportArgumentType]
        if report is not None:
            report(number + 1, len(files))


def read_slow_runs(folder: Path) -> list[SlowRun]:
    """The runs that :func:`write_slow_runs` wrote. **Raises:** ``ValueError`` where there are none."""
    found = []
    for file in sorted(folder.glob("shard_*.npz")):
        with np.load(file, allow_pickle=False) as store:
            numbers = sorted(int(name.removeprefix("mean_")) for name in store.files if name.startswith("mean_"))
            names = ("mean", "std", "truth", "flow")
            found += [SlowRun(*(store[f"{name}_{number}"] for name in names)) for number in numbers]
    if not found:
        raise ValueError(f"{folder}: no runs; expected the files of write_slow_runs")
    return found


Example = tuple[Neighbours, Float[np.ndarray, "H W"]]
"""What a network sees of one image, and the truth; arrays on the host."""


def example(run: SlowRun, gap: int, step: int) -> Example:
    """The image ``step`` steps of the truth after the frame ``gap``, of the whole run."""
    last = len(run.mean) - 1
    seen = [max(gap - 1, 0), gap, gap + 1, min(gap + 2, last)]
    near = Neighbours(
        run.mean[seen].astype(np.float32),  # pyright: ignore[reportArgumentType]
        run.std[gap : gap + 2].astype(np.float32),  # pyright: ignore[reportArgumentType]
        run.flow[gap, step - 1].astype(np.float32),  # pyright: ignore[reportArgumentType]
        np.float32(step / run.stride),
        np.array([gap > 0, gap + 2 <= last], np.float32),  # pyright: ignore[reportArgumentType]
    )
    return near, run.truth[gap * run.stride + step].astype(np.float32)


def draw_example(rng: np.random.Generator, runs: list[SlowRun], crop: int) -> Example:
    """A crop of a random image between the frames, mirrored, transposed and reversed in time at random."""
    run = runs[rng.integers(len(runs))]
    near, truth = example(run, int(rng.integers(len(run.flow))), int(rng.integers(1, run.stride)))
    top, left = rng.integers(0, np.array(truth.shape) - crop + 1)
    part = slice(top, top + crop), slice(left, left + crop)
    frames, std, flow = (np.asarray(v)[(slice(None), *part)] for v in near[:3])
    truth, share, beyond = truth[part], near.share, np.asarray(near.beyond)
    back, rows, columns, turned = rng.random(4) < 0.5
    if back:
        frames, std, flow, share, beyond = frames[::-1], std[::-1], -flow, 1.0 - np.asarray(share), beyond[::-1]
    for axis, mirrored in ((1, rows), (2, columns)):
        if mirrored:
            frames, std, flow, truth = (np.flip(v, axis - (v.ndim == 2)) for v in (frames, std, flow, truth))
            flow = flow * np.where(np.arange(2) == axis - 1, -1, 1).astype(np.float32)[:, None, None]
    if turned:
        frames, std, flow, truth = (np.swapaxes(v, -1, -2) for v in (frames, std, flow[::-1], truth))
    return Neighbours(frames, std, flow, np.float32(share), beyond), truth  # pyright: ignore[reportArgumentType]


def collate(examples: list[Example]) -> tuple[Neighbours, Float[np.ndarray, "N H W"]]:
    """One batch of images of equal size."""
    fields = (np.ascontiguousarray(np.stack(values)) for values in zip(*(near for near, _ in examples), strict=True))
    return Neighbours(*fields), np.stack([truth for _, truth in examples])  # pyright: ignore[reportArgumentType]
