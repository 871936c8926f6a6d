"""The methods of a benchmark behind one call: ours, the learned peers and the classical ones."""

from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.classical import CLASSICAL
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.io.provenance import asset_digests
from fluorojax.learned.peers import PEERS
from fluorojax.learned.size import operations, weight_count
from fluorojax.methods.learned import LearnedMethod
from fluorojax.methods.protocol import Job, SceneMethod
from fluorojax.methods.registry import make_method, method_class, method_names
from fluorojax.models.loading import load_model, model_for
from fluorojax.runs.batches import reconstruct_scenes, scene_data

CALIBRATION = "calibration"
"""Name of the rows that hold the calibrated spec of a scene, which the classical methods share."""
SPEC_CODE = ("calibration", "physics", "data/acquisition", "data/spec")
"""Modules that a calibrated spec depends on."""
OURS_CODE = (
    *SPEC_CODE,
    "engines",
    "learned",
    "methods",
    "models",
    "priors",
    "runs/batches",
    "runs/devices",
    "shipped_models",
    "streaming",
)
"""Modules that a result of an engine depends on."""
_SHARED_CODE = (
    "classical/estimate",
    "classical/electronic_noise",
    "classical/rates",
    "classical/anscombe",
    *SPEC_CODE[1:],
)


@dataclass(frozen=True)
class Contestant:
    """One method."""

    name: str
    label: str
    note: str = ""
    packages: tuple[tuple[str, str], ...] = ()
    """(module, distribution) that have to be installed."""

    @property
    def calibrates(self) -> bool:
        """Whether it calibrates by itself in Scenario III, as the methods that infer a posterior and the peers do."""
        return self.name in method_names() or self.name in PEERS

    @property
    def slow(self) -> bool:
        """Whether a scene takes minutes."""
        return self.name != CALIBRATION and method_class(self.name).cost != "seconds"

    def parameters(self, seed: int) -> dict[str, Any]:
        """What the result depends on besides the scene and the spec."""
        if self.name == CALIBRATION:
            return {}
        if self.calibrates:
            options = self.options(seed)
            return {**asdict(options), "assets": asset_digests(make_method(options))}
        return {"class": type(CLASSICAL[self.name].method).__name__, **asdict(CLASSICAL[self.name].method)}

    def options(self, seed: int) -> ReconstructOptions:
        """Settings of the method itself: no other in its place, and no check beside it."""
        return ReconstructOptions(method=self.name, seed=seed, held_out=0.0, fallback=False)

    @property
    def code(self) -> tuple[str, ...]:
        """Modules of fluorojax that the result depends on."""
        if self.calibrates:
            return OURS_CODE
        module = type(CLASSICAL[self.name].method).__module__.removeprefix("fluorojax.").replace(".", "/")
        solver = (
            ("engines/energy", "engines/lbfgs", "engines/line_search", "engines/iteration", "priors/smoothing")
            if module.endswith("poisson_tv")
            else ()
        )
        return (*_SHARED_CODE, module, *solver)

    def versions(self) -> dict[str, str | None]:
        """Installed versions of the packages, None for those that are missing."""
        return {name: _version(module, name) for module, name in self.packages}

    def network(self) -> dict[str, float] | None:
        """Size of the network of a learned method: ``weights``, and ``operations``, multiplications per pixel and
        frame of one pass; None for other methods."""
        method = None if self.name == CALIBRATION else make_method(self.options(0))
        if not isinstance(method, LearnedMethod):
            return None
        network = method.network()
        return {"weights": weight_count(network), "operations": operations(network)}

    def missing(self) -> str | None:
        """Why the method cannot run here, if so."""
        gone = [name for name, found in self.versions().items() if found is None]
        if not gone:
            return None
        return f"{', '.join(gone)} not installed" + (f" ({self.note})" if self.note else "")

    def run(self, scene: Scene, scenario: str, calibrated: Spec | None, seed: int) -> Reconstruction:
        """Reconstruct one scene. ``calibrated`` is the spec that a classical method assumes in Scenario III."""
        options = replace(self.options(seed), spec="calibrated" if scenario == "III" else "nominal")
        if self.calibrates:
            return next(iter(reconstruct_scenes([scene], options)))
        parameters = scene.operator.parameters
        spec = Spec.nominal(parameters) if calibrated is None or scenario != "III" else calibrated
        method = make_method(options)
        assert isinstance(method, SceneMethod)
        return method.run(
            Job(
                scene=scene,
                data=scene_data(scene),
                model=load_model(model_for(options.model, scene.y.ndim)),
                posterior=SpecPosterior.known(spec, parameters),
                seed=seed,
                assets={},
            )
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
} | {name: Contestant(name, method_class(name).label) for name in (*PEERS, *method_names())}
"""Method names in the order of the tables."""

DEFAULT_METHODS = tuple(
    name for name in CONTESTANTS if method_class(name).cost == "seconds" and name not in ("bm3d", "bm4d")
)
"""Those that take seconds, without BM3D and BM4D, whose licence is non-commercial."""
FULL_METHODS = tuple(name for name in CONTESTANTS if method_class(name).cost != "hours")
"""All but those that take hours for a scene of 16 × 128 × 128, such as NUTS, which have to be asked for."""


def _version(module: str, distribution: str) -> str | None:
    """Version of what provides a module: OpenCV comes under several names."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        names = packages_distributions().get(module)
        return version(names[0]) if names else None
