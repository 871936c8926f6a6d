"""Running a stream: frames from a source, results to sinks, and what goes wrong told without ending the stream."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Float, Num

from fluorojax.data.acquisition import Acquisition
from fluorojax.io.errors import InputError
from fluorojax.streaming.events import Event, events_of
from fluorojax.streaming.learning import live_network
from fluorojax.streaming.sources import Dropped, Frame, Stalled
from fluorojax.streaming.state import MOVED, State, late, start, step


@dataclass(frozen=True)
class Result:
    """The estimate of one frame."""

    frame: int
    """Index of the frame in the source, from zero; missing and bad frames count."""
    x: Float[np.ndarray, "H W"]
    """Normalised attenuation, float32."""
    sd: Float[np.ndarray, "H W"]
    """Its standard deviation, float32."""
    time_ms: float
    """Time stamp of the frame, ms; counted from the frame period where the source has none."""
    latency_ms: float
    """Time from the arrival of the last frame that the estimate uses to the estimate, ms."""
    gain_drift: float
    """Posterior mean of the gain drift, %/frame, after the last frame."""
    gain_drift_std: float
    """Its standard deviation, %/frame."""
    events: tuple[Event, ...] = ()
    """What was noticed since the result before."""


class Sink(Protocol):
    """Where results go."""

    def take(self, result: Result) -> None:
        """Receive one result; raises :class:`~fluorojax.io.InputError` where it cannot be kept for now."""
        ...


@dataclass
class Summary:
    """Figures of a stream."""

    frames: int = 0
    """Frames that were estimated."""
    bad: int = 0
    """Frames that could not be used."""
    dropped: int = 0
    """Frames that came while the computation was late."""
    missing: int = 0
    """Frames that are missing by the time stamps."""
    stalled: bool = False
    """Whether the source stopped sending before its end."""
    gain_drift: float = math.nan
    gain_drift_std: float = math.nan
    events: list[Event] = field(default_factory=list)
    """The first 1,000 events."""
    latencies: list[float] = field(default_factory=list)
    """Latencies of the last 1,000 results, ms."""

    def latency(self) -> dict[str, float]:
        """Median, 99 % quantile and worst of :attr:`latencies`, ms; not a number without results."""
        values = np.asarray(self.latencies or [math.nan])
        return {
            "median": float(np.median(values)),
            "p99": float(np.quantile(values, 0.99)),
            "worst": float(np.max(values)),
        }

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "frames": self.frames,
            "bad": self.bad,
            "dropped": self.dropped,
            "missing": self.missing,
            "stalled": self.stalled,
            "gain_drift": self.gain_drift,
            "gain_drift_std": self.gain_drift_std,
            "latency_ms": self.latency(),
            "events": [event.as_dict() for event in self.events],
        }


_KEPT = 1000
# XLA's other library for products and convolutions runs those of one frame on one core.
_ALL_CORES = {"xla_cpu_experimental_ynn_fusion_type": ""}


class Stream:
    """A stream of frames of one shape, as an object that checks what comes and says what happens.

    The functions :func:`~fluorojax.streaming.start` and :func:`~fluorojax.streaming.step` do the computing and can be
    used without it. The state is compiled and warmed up when the first frame comes, unless ``shape`` is given.
    """

    def __init__(
        self,
        acquisition: Acquisition,
        shape: tuple[int, int] | None = None,
        *,
        on_event: Callable[[Event], None] | None = None,
        **options: Any,
    ):
        """See :func:`~fluorojax.streaming.start` for ``options``; ``on_event`` is called with every event.

        The network is by default the one that comes with the package; ``network=None`` leaves the filter alone.
        """
        self.acquisition = acquisition
        self.summary = Summary()
        self.state: State | None = None
        # The weights are read only where they are used.
        self._options = options if "network" in options else {"network": live_network(), **options}
        self._on_event = on_event
        self._index = -1  # of the last frame that came, used or not
        self._waiting: list[tuple[int, float]] = []
        self._events: list[Event] = []
        self._last_time: float | None = None
        self._unused = 0  # frames without use since the last one that was used
        self._period = float(np.asarray(acquisition.frame_time_ms))
        self._time = 0.0
        self._moving = False
        self._step: Callable[..., tuple[State, Any, Any]] = step
        if shape is not None:
            self._begin(shape)

    @property
    def delay(self) -> int:
        """Number of frames that a result is late."""
        return int(self._options.get("delay", 0))

    def tell(self, event: Event) -> None:
        """Record an event, which the next result carries."""
        self._events.append(event)
        if len(self.summary.events) < _KEPT:
            self.summary.events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def push(
        self, counts: Num[np.ndarray, "H W"], time_ms: float | None = None, *, arrival: float | None = None
    ) -> Result | None:
        """Take one frame; returns the result that is due, or None.

        A frame of another shape, of another kind of numbers, with values that are not finite, or with negative counts
        and no electronic noise in the protocol is told as an event and left out: the stream goes on with the next one.
        ``time_ms`` is the time stamp of the frame, ``arrival`` the value of ``time.perf_counter`` at its arrival.
        """
        arrival = time.perf_counter() if arrival is None else arrival
        self._index += 1
        values = np.asarray(counts)
        if problem := self._problem(values):
            self.summary.bad += 1
            self._unused += 1
            self.tell(Event("bad frame", self._index, f"frame {self._index} {problem}; it is left out"))
            return None
        if self.state is None:
            self._begin(values.shape)
        elapsed = self._elapsed(time_ms)
        assert self.state is not None
        self.state, x, sd = self._step(self.state, values.astype(np.float32), elapsed)
        self.summary.frames += 1
        self._waiting.append((self._index, self._time))
        if self.summary.frames > self.delay:
            result = self._result(x, sd, arrival)
        else:
            jax.block_until_ready(x)
            result = None
        self._look()
        return result

    def skip(self, frames: int) -> None:
        """Tell that ``frames`` frames came and were dropped."""
        self._index += frames
        self._unused += frames
        self.summary.dropped += frames
        number = "one frame is" if frames == 1 else f"{frames} frames are"
        first = self._index - frames + 1
        self.tell(Event("dropped", first, f"{number} dropped at frame {first}: the computation is late", frames))

    def finish(self) -> list[Result]:
        """The results that a delay holds back, at the end of the stream."""
        results = []
        if self.state is not None:
            for behind in range(min(self.delay, len(self._waiting)) - 1, -1, -1):
                arrival = time.perf_counter()
                results.append(self._result(*late(self.state, behind), arrival))
        return results

    def _begin(self, shape: tuple[int, ...]) -> None:
        """Make the state, and compile the step on a blank frame whose result is thrown away."""
        self.state = start(self.acquisition, shape, **self._options)  # pyright: ignore[reportArgumentType]
        frame = np.ones(shape, np.float32)
        if jax.default_backend() == "cpu":
            try:
                self._step = _step_on_cpu()
                jax.block_until_ready(self._step(self.state, frame, 0.0)[1])
                return
            except jax.errors.JaxRuntimeError:  # a version of XLA without this option
                self._step = step
        jax.block_until_ready(self._step(self.state, frame, 0.0)[1])

    def _problem(self, values: np.ndarray) -> str | None:
        """What keeps a frame from being used, or None."""
        if values.dtype.kind not in "uif":
            return f"has dtype {values.dtype}; expected real numbers"
        if self.state is None and (values.ndim != 2 or min(values.shape) < 4):
            return f"has shape {values.shape}; expected rows and columns, at least 4 each"
        if self.state is not None and values.shape != self.state.shape:
            return f"has shape {values.shape}; expected {self.state.shape}, as the frames before"
        if not np.isfinite(values).all():
            return f"has {np.count_nonzero(~np.isfinite(values))} values that are not finite; expected counts"
        if values.min() < 0 and float(np.asarray(self.acquisition.electronic_noise)) == 0:
            return f"has negative values down to {values.min():g}; expected counts"
        return None

    def _elapsed(self, time_ms: float | None) -> float:
        """Time since the last frame that was used, ms, by the time stamps or by counting."""
        if time_ms is not None and self._last_time is not None and time_ms > self._last_time:
            elapsed = time_ms - self._last_time
        else:
            elapsed = (1 + self._unused) * self._period
        self._time = self._time + elapsed if time_ms is None else time_ms
        if self.summary.frames == 0 and time_ms is None:
            self._time = 0.0
        self._last_time = time_ms
        self._unused = 0
        return float(elapsed)

    def _result(self, x: Any, sd: Any, arrival: float) -> Result:
        assert self.state is not None
        x, sd = np.asarray(x), np.asarray(sd)
        rate = math.exp(float(self.state.gain.drift))
        drift, spread = 100 * (rate - 1), 100 * rate * float(self.state.gain.drift_std)
        latency = 1000 * (time.perf_counter() - arrival)
        self.summary.latencies = [*self.summary.latencies[1 - _KEPT :], latency]
        self.summary.gain_drift, self.summary.gain_drift_std = drift, spread
        frame, moment = self._waiting.pop(0)
        told, self._events = tuple(self._events), []
        return Result(frame, x, sd, moment, latency, drift, spread, told)

    def _look(self) -> None:
        """Tell the events of the last step."""
        assert self.state is not None
        news = self.state.news
        self._period = float(self.state.clock.period)
        for event in events_of(news, self._index, period_ms=self._period, moving=self._moving):
            if event.kind == "missing":
                self.summary.missing += round(event.value)
            self.tell(event)
        self._moving = float(news.changed) > MOVED


@lru_cache(maxsize=1)
def _step_on_cpu() -> Callable[..., tuple[State, Any, Any]]:
    """:func:`~fluorojax.streaming.step` with convolutions that use all cores, which takes two thirds of the time."""
    whole = step.__wrapped__  # pyright: ignore[reportAttributeAccessIssue]
    return jax.jit(whole, compiler_options=_ALL_CORES)


def stream(
    frames: "Iterable[Frame | Dropped | Num[np.ndarray, 'H W']]",
    acquisition: Acquisition,
    *,
    sinks: Iterable[Sink] = (),
    on_event: Callable[[Event], None] | None = None,
    limit: int | None = None,
    run: Stream | None = None,
    **options: Any,
) -> Iterator[Result]:
    """Estimates of a stream of frames, one by one; what goes wrong with a frame or a sink does not end it.

    **Arguments:**

    - `frames`: arrays (H, W), or the :class:`~fluorojax.streaming.Frame` objects of a source.
    - `acquisition`: the nominal protocol.
    - `sinks`: receivers of the results. One that fails is told as an event, once until it recovers.
    - `on_event`: called with every event.
    - `limit`: number of frames after which the stream ends.
    - `run`: the :class:`Stream` to use, whose summary stays with the caller; else ``options`` make one.

    **Returns** an iterator; results are computed while it is read.
    """
    running = Stream(acquisition, on_event=on_event, **options) if run is None else run
    failing: set[int] = set()
    receivers = list(sinks)

    def give(result: Result) -> Result:
        for place, sink in enumerate(receivers):
            try:
                sink.take(result)
                failing.discard(place)
            except InputError as error:
                if place not in failing:
                    running.tell(Event("output", result.frame, str(error)))
                failing.add(place)
        return result

    try:
        for item in frames:
            frame = item if isinstance(item, Frame | Dropped) else Frame(np.asarray(item))
            if isinstance(frame, Dropped):
                running.skip(frame.frames)
                continue
            result = running.push(frame.counts, frame.time_ms, arrival=frame.arrival)
            if result is not None:
                yield give(result)
            if limit is not None and running.summary.frames >= limit:
                break
    except Stalled as stall:
        running.summary.stalled = True
        running.tell(Event("stalled", running._index + 1, str(stall)))
    for result in running.finish():
        yield give(result)


__all__ = ["Result", "Sink", "Stream", "Summary", "stream"]
