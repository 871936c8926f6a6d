"""The measures of the field applied to a method: a phantom goes through the imaging chain and then the method.

A nonlinear method sharpens, smears and denoises differently at every contrast and dose. Each measure therefore holds
for the contrast and the dose of its task. A method is any callable ``(y, acquisition) → x_hat`` that takes counts (T,
H, W) and returns normalised attenuation of the same shape. It may also return an object with an attribute ``x_hat``, as
the methods of :mod:`fluorojax.classical` do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.metrics.detectability import Detectability, template_detectability
from fluorojax.metrics.noise import NoisePower, ensemble_noise, noise_power
from fluorojax.metrics.resolution import EdgeTransfer, edge_transfer, slanted_edge
from fluorojax.metrics.scene_score import expected_counts
from fluorojax.metrics.temporal import StepResponse, step_response
from fluorojax.simulation.imaging_chain import count

Method = Callable[[Float[np.ndarray, "T H W"], Acquisition], Any]


@dataclass(frozen=True)
class Task:
    """A flat field of given mean counts that a test object is put into, seen through the nominal imaging chain."""

    counts: float = 30.0
    """Mean quanta per pixel and frame behind the flat field."""
    contrast: float = 0.3
    """Optical depth of the test object; the brightness behind it falls by the factor exp(−contrast)."""
    frames: int = 16
    size: int = 64
    repeats: int = 8
    """Number of noise realisations. A measure that needs a mean averages the answers to them."""
    seed: int = 0
    acquisition: Acquisition = Acquisition()  # noqa: RUF009  (immutable)

    def __post_init__(self) -> None:
        if not 0 < self.counts < self._nominal("photons_per_pixel"):
            raise ValueError(f"counts is {self.counts:g}; expected a number between 0 and photons_per_pixel")

    @property
    def background(self) -> float:
        """Normalised attenuation of the flat field."""
        return float(np.log(self._nominal("photons_per_pixel") / self.counts)) / self._nominal("attenuation_scale")

    @property
    def height(self) -> float:
        """Normalised attenuation of the test object, ``contrast`` over the attenuation scale."""
        return self.contrast / self._nominal("attenuation_scale")

    def _nominal(self, name: str) -> float:
        return self.acquisition.as_dict()[name]

    def run(
        self, method: Method, pattern: Float[np.ndarray, "..."], *, stream: int = 0
    ) -> Float[np.ndarray, "R T H W"]:
        """Answers of the method to ``repeats`` noise realisations of the flat field plus ``height · pattern``.

        ``pattern`` is broadcast to (T, H, W); another ``stream`` gives independent noise.
        """
        shape = (self.frames, self.size, self.size)
        x = np.broadcast_to(self.background + self.height * np.asarray(pattern), shape).astype(np.float32)
        rate = expected_counts(x, Spec(), self.acquisition)
        answers = []
        for repeat in range(self.repeats):
            rng = np.random.default_rng([self.seed, stream, repeat])
            answer = method(count(rng, rate, self._nominal("electronic_noise")), self.acquisition)
            answer = np.asarray(getattr(answer, "x_hat", answer))
            if answer.shape != shape:
                raise ValueError(f"method returned shape {answer.shape}; expected {shape}, like the counts")
            answers.append(answer)
        return np.stack(answers)


def task_transfer(
    method: Method, task: Task, *, angle_deg: float = 8.0, blur: float = 0.5, half_width: float = 10.0
) -> EdgeTransfer:
    """Task transfer function of a method: :func:`edge_transfer` of its mean answer to a noisy static edge.

    The mean runs over the repeats and over the later half of the frames, where a recursive method has settled. An edge
    of Gaussian ``blur`` b (standard deviation, pixels) is shown, as detectors have, and its own transfer
    exp(−2π²b²f²) divided out. Only what lies within ``half_width`` pixels of it enters: more would add noise, and tails
    longer than that show as transfer above one.
    """
    edge = slanted_edge((task.size, task.size), angle_deg, blur)
    mean = task.run(method, edge)[:, task.frames // 2 :].mean(axis=(0, 1))
    seen = edge_transfer(mean, half_width=half_width)
    own = np.exp(-2.0 * (np.pi * blur * seen.frequency) ** 2)
    return EdgeTransfer(**{**vars(seen), "transfer": seen.transfer / own})


def task_noise(method: Method, task: Task) -> NoisePower:
    """Noise power spectrum of a method's answers to a noisy flat field, over the later half of the frames."""
    answers = task.run(method, np.zeros(()))[:, task.frames // 2 :]
    return noise_power(ensemble_noise(answers), detrend="none")


def task_lag(method: Method, task: Task) -> StepResponse:
    """Lag of a method when the test object appears over the whole field at once, in the middle of the run.

    The counts contain the lag of the detector at its nominal value, so that a method that does not correct for it shows
    this lag too.
    """
    step = task.frames // 2
    pattern = (np.arange(task.frames) >= step).astype(np.float64)[:, None, None]
    mean = task.run(method, pattern).mean(axis=0)
    return step_response(mean, step, before=task.background, after=task.background + task.height)


def task_detectability(
    method: Method, task: Task, pattern: Float[np.ndarray, "..."], *, frame: int = -1
) -> Detectability:
    """Detectability of ``height · pattern`` in one frame of a method's answers, by the pattern itself as template.

    ``pattern`` has shape (H, W) or, where it moves, (T, H, W). The template is the true object of that frame without
    its mean, so that the brightness of the whole field has no influence. Blur, lag and displacement lower d'.
    """
    moving = np.broadcast_to(pattern, (task.frames, task.size, task.size))
    template = moving[frame] - moving[frame].mean()
    present, absent = task.run(method, moving, stream=1), task.run(method, np.zeros(()), stream=2)
    return template_detectability(present[:, frame], absent[:, frame], template)
