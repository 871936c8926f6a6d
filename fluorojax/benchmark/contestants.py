"""The methods of a benchmark behind one call: ours and the classical ones."""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from fluorojax.classical import CLASSICAL
from fluorojax.data.choices import METHODS as OURS
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec

CALIBRATION = "calibration"
"""Name of the rows that hold the calibrated chain of a scene, which the classical methods share."""
_SLOW = ("mgvi", "nuts")
SPEC_CODE = ("calibration", "physics", "data/acquisition", "data/spec")
"""Modules that a calibrated chain depends on."""
OURS_CODE = (*SPEC_CODE, "engines", "priors", "methods", "models", "shipped_models", "runs/batches")
"""Modules that a result of an engine depends on."""
_SHARED_CODE = ("classical/estimate", "classical/rates", "classical/anscombe", *SPEC_CODE[1:])
_UNKNOWN = Spec(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Contestant:
    """One method."""

    name: str
    label: str
    note: str = ""
    packages: tuple[tuple[str, str], ...] = ()
    """(module, distribution) that have to be installed."""

    @property
    def ours(self) -> bool:
        """Whether it is an engine of fluorojax, which calibrates by itself in Scenario III."""
        return self.name in OURS

    @property
    def slow(self) -> bool:
        """Whether a scene takes minutes."""
        return self.name in _SLOW

    def parameters(self, seed: int) -> dict[str, Any]:
        """What the result depends on besides the scene and the chain."""
        if self.name == CALIBRATION:
            return {}
        if self.ours:
            return asdict(ReconstructOptions(method=self.name, seed=seed))
        return {"class": type(CLASSICAL[self.name].method).__name__, **asdict(CLASSICAL[self.name].method)}

    @property
    def code(self) -> tuple[str, ...]:
        """Modules of fluorojax that the result depends on."""
        if self.ours:
            return OURS_CODE
        module = type(CLASSICAL[self.name].method).__module__.removeprefix("fluorojax.").replace(".", "/")
        solver = ("engines/lbfgs", "priors/smoothing") if module.endswith("poisson_tv") else ()
        return (*_SHARED_CODE, module, *solver)

    def versions(self) -> dict[str, str | None]:
        """Installed versions of the packages, None for those that are missing."""
        return {name: _version(module, name) for module, name in self.packages}

    def missing(self) -> str | None:
        """Why the method cannot run here, if so."""
        gone = [name for name, found in self.versions().items() if found is None]
        if not gone:
            return None
        return f"{', '.join(gone)} not installed" + (f" ({self.note})" if self.note else "")

    def run(self, scene: Scene, scenario: str, calibrated: Spec | None, seed: int) -> Reconstruction:
        """Reconstruct one scene. ``calibrated`` is the chain that a classical method assumes in Scenario III."""
        if self.ours:
            from fluorojax.runs.batches import reconstruct_scenes

            spec = "calibrated" if scenario == "III" else "nominal"
            options = ReconstructOptions(method=self.name, seed=seed, spec=spec)
            return next(iter(reconstruct_scenes([scene], options)))
        spec = calibrated if scenario == "III" else None
        estimate = CLASSICAL[self.name].method(scene.y, scene.acquisition, spec)
        return Reconstruction(
            name=scene.name,
            x_hat=estimate.x_hat,
            x_std=estimate.x_std,
            spec=Spec() if spec is None else spec,
            spec_std=_UNKNOWN,
            spec_interval={},
            status=Status.CONVERGED,
            seconds=float("nan"),
        )


_MODULES = {
    "scikit-image": "skimage",
    "opencv-python-headless": "cv2",
    "PyWavelets": "pywt",
    "bm3d": "bm3d",
    "bm4d": "bm4d",
}

CONTESTANTS: dict[str, Contestant] = {
    name: Contestant(name, entry.label, entry.note, tuple((_MODULES[package], package) for package in entry.packages))
    for name, entry in CLASSICAL.items()
} | {name: Contestant(name, f"fluorojax {name}") for name in OURS}
"""Method names in the order of the tables."""

DEFAULT_METHODS = tuple(name for name in CONTESTANTS if name not in (*_SLOW, "bm3d", "bm4d"))
"""Those that take seconds."""
FULL_METHODS = tuple(name for name in CONTESTANTS if name != "nuts")
"""All but NUTS, which takes hours for a scene of 16 × 128 × 128 and has to be asked for."""


def _version(module: str, distribution: str) -> str | None:
    """Version of what provides a module: OpenCV comes under several names."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        names = packages_distributions().get(module)
        return version(names[0]) if names else None
