"""What a reconstruction method is.

A method is one file with one class, and one line in :mod:`fluorojax.methods.registry`. ``fluorojax reconstruct``,
``calibrate-check``, ``benchmark`` and the documentation take it from there. The class is a frozen dataclass whose
fields are the settings of the method; it derives from

* :class:`BatchedMethod` where one scene is a pure, traceable computation: runs batch it over scenes and devices;
* :class:`SceneMethod` where a scene is computed on the host, one after the other, perhaps with a state on disk.

A method gets the spec posterior of the scene (calibrated, nominal, or the truth) and returns attenuation with its
uncertainty. It never reads a global operator: the scene carries its imaging chain.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.methods.summary import Summary
from fluorojax.models.protocol import SceneData, SceneModel

Cost = Literal["seconds", "minutes", "hours"]
LatentDraws = dict[str, Float[Array, "draws *latent"]]


def silent(fraction: float, note: str) -> None:
    """Reports to nobody."""


@dataclass(frozen=True)
class Job:
    """One scene as a method gets it."""

    scene: Scene
    data: SceneData
    """The scene on the device, its ranges stretched to a spec that is taken as known."""
    model: SceneModel
    posterior: SpecPosterior
    """What is known of the spec parameters before the method runs."""
    seed: int
    assets: dict[str, str]
    """SHA-256 of the files that the method ships (:meth:`Method.assets`), by file name; part of the fingerprint of a
    state on disk."""
    state_file: Path | None = None
    """Where a method that can be interrupted keeps its state."""
    on_foreign_state: Callable[[Path, str], None] | None = None
    """Called with a state of another run before it is deleted; without it such a state is refused."""
    frames: int | None = None
    """Frames of the long run that ``scene`` is a part of; None where it is a whole."""
    report: Callable[[float, str], None] = silent
    """Receives the fraction of the work that is done and a sentence on how it goes."""


@dataclass(frozen=True)
class Block:
    """A part of a long run that is solved at once: frames, rows and columns, each slice with a start and a stop."""

    kept: tuple[slice, slice, slice]
    """What the result holds; the kept parts of all blocks partition the run."""
    seen: tuple[slice, slice, slice]
    """What is read and solved: the kept part, and around it what overlaps with the blocks beside it."""

    @property
    def inner(self) -> tuple[slice, slice, slice]:
        """The kept part, counted from the beginning of what is seen."""
        pairs = zip(self.kept, self.seen, strict=True)
        return tuple(slice(k.start - s.start, k.stop - s.start) for k, s in pairs)  # pyright: ignore[reportReturnType]


class NotServed(ValueError):
    """A method refuses a scene that it does not serve, or should not be used for."""

    def __init__(self, scene: str, method: str, reasons: Sequence[str]):
        """``reasons`` are clauses that say why, most important first."""
        self.reasons = tuple(reasons)
        super().__init__(f"{scene}: the method {method!r} does not serve this scene: {'; '.join(self.reasons)}")


class Method(ABC):
    """A reconstruction method; see the module docstring."""

    label: ClassVar[str]
    """What tables call the method."""
    summary: ClassVar[str]
    """One sentence for help and documentation: what the user gets, and when to choose the method."""
    cost: ClassVar[Cost] = "seconds"
    """What a scene of 16 × 128 × 128 takes on two cores; benchmarks leave out what takes hours unless asked."""
    working_arrays: ClassVar[int] = 40
    """Peak memory of one scene beyond that of the process, in float32 arrays of the size of its counts."""
    process_bytes: ClassVar[int] = 500_000_000
    """What the process takes whatever the scene: interpreter, XLA, its compiler."""
    spec_sources: ClassVar[tuple[str, ...]] = ("calibrated", "nominal", "true")
    """Where the spec parameters may come from; ``joint`` where the method infers them together with the scene."""
    why_not_joint: ClassVar[str] = ""
    """Why ``joint`` is not among the :attr:`spec_sources`, where that may surprise: the end of "because …"."""
    joint_draws: ClassVar[bool] = False
    """Whether :meth:`latent_draws` gives joint draws of all latents, which ``calibrate-check`` then tests; any other
    method is tested by the means and standard deviations that it states."""
    held_out: ClassVar[float] = 0.0
    """Share of the quanta that is held out to check the result, unless the user asks for another; the check costs one
    more reconstruction."""
    fallback: ClassVar[str | None] = None
    """Name of the method that takes the scenes that this one refuses by :class:`NotServed`."""
    states_mean: ClassVar[bool] = False
    """Whether ``x_hat`` is the posterior mean of x. The expected counts of a posterior lie above the counts at its
    mean; at a mode, or at the logarithm of a filtered rate, they do not."""
    uses_model: ClassVar[bool] = True
    """Whether the method needs a generative model; others ignore ``--model``."""
    exact_blocks: ClassVar[bool] = False
    """Whether :meth:`blocks` give what the whole run gives, to rounding, so that nothing speaks against them."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: ReconstructOptions) -> "Method":
        """The method with its settings. Raises ``ValueError`` naming an option that it cannot use."""

    def seconds(self, frames: int, pixels: int) -> float | None:
        """Wall time of a scene of so many frames and pixels on two CPU cores, once compiled; None where unknown."""
        return None

    def unserved(self, scene: Scene) -> list[str]:
        """Clauses on why the method takes no scene of this shape and imaging chain; empty where it takes them."""
        return []

    def checking(self) -> "Method":
        """The method as the check by held-out quanta needs it: by default itself.

        It refuses no scene that it can take, and may leave out the share of the imaging chain in the uncertainty,
        which the check takes from the result itself.
        """
        return self

    def assets(self) -> tuple[Path, ...]:
        """Files that the result depends on beside model and input, such as network weights."""
        return ()

    def block_values(self, shape: tuple[int, int, int], frames: int | None) -> int | None:
        """Counts that a block of :meth:`blocks` sees at most; None where the method needs the whole run at once.

        Raises ``ValueError`` as :meth:`blocks` does.
        """
        del shape, frames
        return None

    def blocks(self, job: "Job", shape: tuple[int, int, int], frames: int | None) -> Sequence[Block] | None:
        """How a run of ``shape`` (T, H, W) is cut into blocks that are solved one after the other; None where the
        method needs the whole run at once, as by default.

        **Arguments:** ``job`` of the first two frames, with what was calibrated on the whole run; ``frames`` that are
        read at once, the overlap included, or None for a choice of the method. Raises ``ValueError`` naming
        ``block_frames`` where there are fewer of them than blocks overlap by.
        """
        del job, shape, frames
        return None

    def check_run(self, job: "Job") -> dict[str, Any]:
        """What a method has to say of a long run before it solves the blocks, for the diagnostics of the result.

        ``job`` holds some frames that are spread over the run. Raises :class:`NotServed` for a run that the method
        refuses.
        """
        del job
        return {}

    def latent_draws(self, model: SceneModel, data: SceneData, key: PRNGKeyArray, draws: int) -> LatentDraws:
        """Draws of all latents of one scene for ``calibrate-check``, traceable; NaN where they must not be used.

        Only for methods with :attr:`joint_draws`.
        """
        raise TypeError(f"{type(self).__name__} has no joint draws of the latents")


class BatchedMethod(Method):
    """A method whose solve is pure and traceable for one scene."""

    side_by_side: ClassVar[bool] = True
    """Whether a device may solve several scenes under one ``vmap``. False where a scene now and then needs much more
    work than others: under ``vmap`` every branch runs for every scene, and a loop runs for all until the last ends."""

    def inputs(self, posterior: SpecPosterior, ranges: SpecRanges, seed: int) -> PyTree:
        """Arrays on the host that the solve needs beside the scene: by default spec medians and their sd."""
        return posterior.spec, posterior.array("std")

    @abstractmethod
    def solve(self, model: SceneModel, data: SceneData, inputs: Any, key: Array) -> Summary:
        """The posterior of one scene; batched elsewhere by ``vmap`` and over devices."""


class SceneMethod(Method):
    """A method that takes one scene after the other on the host."""

    @abstractmethod
    def run(self, job: Job) -> Reconstruction:
        """The result of one scene; its ``seconds`` are set by the caller.

        Raises :class:`NotServed` for a scene that the method refuses.
        """

    def run_block(self, job: Job, block: Block) -> Reconstruction:
        """The result in the kept part of a block; ``job`` holds the counts that the block sees.

        Only for methods with :meth:`blocks`.
        """
        raise TypeError(f"{type(self).__name__} solves no blocks")


def to_device(tree: PyTree) -> PyTree:
    """The leaves of a pytree as JAX arrays of the default floating type."""
    import jax.numpy as jnp

    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), tree)
