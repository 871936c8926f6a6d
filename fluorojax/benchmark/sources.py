"""Where the scenes of a benchmark come from, and how they are kept."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from fluorojax.data.scene import Scene
from fluorojax.io import open_scenes, write_challenge, write_stack
from fluorojax.runs.scenarios import without_mismatch
from fluorojax.simulation import SimulationOptions, device_masks, simulate_scene

PHOTONS_PER_COUNT = 30.0
"""Open-beam quanta for one quantum behind the patient: simulated chests transmit 3.2 % on average (1.3 to 4.6 %)."""


@dataclass(frozen=True)
class SimulatedSource:
    """One scene of the project's simulator."""

    tier: str
    motion: str
    counts: float
    """Counts behind the patient that the dose aims at: ``photons_per_pixel`` is 30 times as much."""
    frames: int
    size: int
    seed: int
    index: int
    matched: bool
    """Measured by the nominal imaging chain (Scenario I); patient, motion and noise stream are the same."""

    @property
    def cell(self) -> str:
        """The cell of the table."""
        return f"{self.tier}, {self.motion} motion, {self.counts:g} counts"

    @property
    def scene(self) -> str:
        """Name within the cell."""
        return f"sample_{self.index:02d}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames and pixels."""
        return self.frames, self.size, self.size

    def identity(self) -> dict[str, Any]:
        """What fixes the data."""
        return {"kind": "simulated", **asdict(self), "photons": PHOTONS_PER_COUNT * self.counts}

    def options(self) -> SimulationOptions:
        """Settings for the simulator."""
        return SimulationOptions(
            tier=self.tier,
            motion=self.motion,
            frames=self.frames,
            size=self.size,
            photons=PHOTONS_PER_COUNT * self.counts,
            mismatch=not self.matched,
        )

    def load(self, cache: Path) -> tuple[Scene, Bool[np.ndarray, "T H W"]]:
        """The scene and the mask of its devices, from the cache or simulated into it."""
        label = f"{self.tier}_{self.motion}_{self.counts:g}_{self.frames}x{self.size}_{self.seed}_{self.index}"
        path = cache / f"{label}{'_matched' if self.matched else ''}.h5"
        masks = cache / f"{self.motion}_{self.frames}x{self.size}_{self.seed}_{self.index}_device.npy"
        if not path.exists():
            made = simulate_scene(self.seed, self.options(), index=self.index, name=self.scene)
            write_challenge(path, [made], tier=self.tier, overwrite=True)
        if not masks.exists():
            device = np.packbits(device_masks(self.seed, self.options(), index=self.index)["device"])
            write_stack(masks, device, overwrite=True)
        device = np.unpackbits(np.load(masks), count=int(np.prod(self.shape))).reshape(self.shape).astype(bool)
        return open_scenes(path)[self.scene], device


@dataclass(frozen=True)
class FileSource:
    """One scene of a challenge file with the truth."""

    path: str
    sha256: str
    scene: str
    seed: int
    matched: bool
    """Fresh counts of the truth through the nominal operator (Scenario I)."""

    @property
    def cell(self) -> str:
        """The cell of the table."""
        return Path(self.path).name

    def identity(self) -> dict[str, Any]:
        """What fixes the data; where the file lies does not."""
        values = {"kind": "file", **asdict(self)}
        del values["path"]
        if not self.matched:
            del values["seed"]
        return values

    def load(self, cache: Path) -> tuple[Scene, None]:
        """The scene; nothing is known of its devices."""
        scene = open_scenes(self.path)[self.scene]
        return (without_mismatch(scene, self.seed) if self.matched else scene), None


Source = SimulatedSource | FileSource


def with_matched(source: Source, matched: bool) -> Source:
    """The same scene in Scenario I, or in II and III."""
    return replace(source, matched=matched)


def source_from(values: dict[str, Any]) -> Source:
    """Inverse of ``dataclasses.asdict``."""
    return FileSource(**values) if "path" in values else SimulatedSource(**values)
