"""Runs in blocks: the seams, going on after an interruption, damaged blocks, what is stored, and what is refused."""

import errno
from dataclasses import dataclass, replace

import equinox as eqx
import h5py
import jax
import numpy as np
import pytest
from reliability.faults import refused_at

from fluorojax.calibration.posterior import calibrate
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import InputError, Selection, open_scenes, parts_folder, read_reconstruction, write_challenge
from fluorojax.io.parts import blocks_folder
from fluorojax.learned.features import SPAN
from fluorojax.learned.inference import lead_frames
from fluorojax.learned.networks import UNet, architecture, build_network
from fluorojax.learned.weights import save_weights
from fluorojax.methods import registry
from fluorojax.methods.learned import LearnedMethod
from fluorojax.methods.map import HALO, MapMethod
from fluorojax.methods.protocol import Block, SceneMethod
from fluorojax.methods.registry import make_method
from fluorojax.physics.dark import DarkRate
from fluorojax.runs.estimate import WHOLE_BYTES, estimate, in_blocks
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.long_calibration import calibrate_run
from fluorojax.runs.progress import ProgressDisplay

FRAMES, SIDE, BLOCK = 40, 16, 24
NAME = "sample_00"


@architecture("tiny_long")
def _tiny(key):
    network = UNet(key, widths=(8, 8), encode=(1, 0), decode=(1,), hidden=4)
    return eqx.tree_at(lambda n: n.leave.weight, network, 10.0 * network.leave.weight)


def run_of(frames, side, *, seed=0, **protocol):
    """A bright run with drift and a bar that moves in its upper half."""
    rng = np.random.default_rng(seed)
    rows = np.arange(side)[None, :, None]
    place = (np.arange(frames) / 2 % (side // 2))[:, None, None]
    depth = 0.8 + 0.4 * np.cos(rows / 5.0) + 0.5 * (abs(rows - place) < 1.5)
    rate = 400.0 * np.exp(-depth) * (1.003 ** np.arange(frames))[:, None, None] * np.ones((1, 1, side))
    acquisition = Acquisition(**{"photons_per_pixel": 400.0, "attenuation_scale": 5.0, **protocol})
    counts = rng.poisson(rate).astype(np.float32)
    truth = Spec(motion_blur=1.0, lag=2.0, gain_drift=0.3)
    return Scene(NAME, counts, acquisition, SpecRanges.for_tier("public"), true_spec=truth)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("long")
    save_weights(found / "tiny.npz", build_network("tiny_long", jax.random.key(1)), {"architecture": "tiny_long"})
    write_challenge(found / "in.h5", [run_of(FRAMES, SIDE, scatter_fraction=0.2)])
    return found


@pytest.fixture(scope="module")
def options(folder):
    learned = {"method": "learned", "weights": str(folder / "tiny.npz"), "spec": "true"}
    return ReconstructOptions(**learned, held_out=0.0, fallback=False, block_frames=BLOCK)


@pytest.fixture(scope="module")
def in_one(folder, options):
    """The whole run solved at once."""
    reconstruct_file(folder / "in.h5", folder / "whole.h5", replace(options, block_frames=None))
    return read_reconstruction(folder / "whole.h5", NAME)


@pytest.fixture(scope="module")
def undisturbed(folder, options):
    reconstruct_file(folder / "in.h5", folder / "blocks.h5", options)
    return folder / "blocks.h5"


def test_blocks_of_the_network_have_no_seams(in_one, undisturbed):
    found = read_reconstruction(undisturbed, NAME)
    assert found.diagnostics["blocks"]["number"] > 1
    assert in_one.x_std is not None
    assert found.x_std is not None
    assert np.abs((found.x_hat - in_one.x_hat) / in_one.x_std).max() < 1e-3
    np.testing.assert_allclose(found.x_std, in_one.x_std, rtol=1e-3)
    np.testing.assert_allclose(found.spec_correlation, in_one.spec_correlation, atol=2e-3)
    assert (found.spec, found.status, found.counts_sha256) == (in_one.spec, in_one.status, in_one.counts_sha256)
    for name in ("mean_squared_residual", "information_in_counts"):
        assert found.diagnostics[name] == pytest.approx(in_one.diagnostics[name], rel=1e-3)
    shares = found.diagnostics["variance_share_of_chain"]
    assert shares == pytest.approx(in_one.diagnostics["variance_share_of_chain"], rel=1e-2)


def test_the_output_is_chunked_by_frames_and_compressed(undisturbed):
    with h5py.File(undisturbed) as handle:
        for name in ("x_hat", "x_std", "spec_correlation"):
            stored = handle[f"{NAME}/{name}"]
            assert stored.compression == "gzip"
            assert stored.chunks[-2:] == (SIDE, SIDE)
            assert stored.dtype == np.float32
    assert not parts_folder(undisturbed).exists()


class _Stop(ProgressDisplay):
    """Interrupts a run when it begins a block."""

    def __init__(self, block):
        self.block = block

    def update(self, done, note):
        if f"block {self.block} of" in note:
            raise KeyboardInterrupt


def contents(path):
    with h5py.File(path) as handle:
        return {name: handle[f"{NAME}/{name}"][()].tobytes() for name in ("x_hat", "x_std", "spec_correlation")}


@pytest.mark.parametrize("damage", [False, True])
def test_a_run_goes_on_after_its_last_finished_block(folder, options, undisturbed, tmp_path, monkeypatch, damage):
    out, solved, told = tmp_path / "out.h5", [], []
    with pytest.raises(KeyboardInterrupt):
        reconstruct_file(folder / "in.h5", out, options, progress=_Stop(2), notify=told.append)
    assert "1 finished blocks are kept" in told[-1]
    (kept,) = blocks_folder(parts_folder(out), NAME).glob("0*.h5")
    if damage:
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(content)
    solve = LearnedMethod.run_block
    monkeypatch.setattr(LearnedMethod, "run_block", lambda *a: solved.append(a[2]) or solve(*a))
    told.clear()
    reconstruct_file(folder / "in.h5", out, options, notify=told.append)
    assert len(solved) == 1 + damage
    assert any("computing a block again" in line for line in told) == damage
    assert any("1 of 2 blocks are finished" in line for line in told) != damage
    assert contents(out) == contents(undisturbed)
    assert {path.name for path in tmp_path.iterdir()} == {"out.h5"}


def test_blocks_of_another_run_are_refused_or_discarded(folder, options, undisturbed, tmp_path):
    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        reconstruct_file(folder / "in.h5", out, replace(options, seed=1), progress=_Stop(2))
    with pytest.raises(InputError, match="holds finished blocks of a run with other settings"):
        reconstruct_file(folder / "in.h5", out, options)
    reconstruct_file(folder / "in.h5", out, options, overwrite=True)
    assert contents(out) == contents(undisturbed)
    assert {path.name for path in tmp_path.iterdir()} == {"out.h5"}


def test_a_disk_that_fills_up_in_a_block_keeps_the_blocks_before(folder, options, undisturbed, tmp_path):
    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        reconstruct_file(folder / "in.h5", out, options, progress=_Stop(2))
    with pytest.raises(InputError, match="no space left on"), refused_at(12, errno.ENOSPC):
        reconstruct_file(folder / "in.h5", out, options)
    assert len(list(blocks_folder(parts_folder(out), NAME).glob("0*.h5"))) >= 1
    assert not list(tmp_path.rglob("*.tmp"))
    reconstruct_file(folder / "in.h5", out, options)
    assert contents(out) == contents(undisturbed)


@pytest.mark.parametrize(
    ("method", "frames", "problem"),
    [
        ("learned", SPAN - 1, f"block_frames is {SPAN - 1}; expected at least {SPAN}"),
        ("map", 2, "block_frames is 2; expected at least"),
        ("mgvi", 30, "needs a whole run at once"),
    ],
)
def test_blocks_that_cannot_be(folder, options, tmp_path, method, frames, problem):
    source = tmp_path / "in.h5"
    write_challenge(source, [run_of(60, 40)])
    wanted = replace(options, method=method, block_frames=frames)
    with pytest.raises(ValueError, match=problem):
        reconstruct_file(source, tmp_path / "out.h5", wanted)
    assert {path.name for path in tmp_path.iterdir()} == {"in.h5"}


def test_bad_counts_in_any_block_are_told_before_the_first(folder, options, tmp_path):
    scene, source = run_of(FRAMES, SIDE), tmp_path / "in.h5"
    write_challenge(source, [scene])
    with h5py.File(source, "r+") as handle:
        del handle[f"{NAME}/y"]
        handle[f"{NAME}/y"] = np.where(np.arange(FRAMES)[:, None, None] == FRAMES - 2, np.nan, scene.y)
    with pytest.raises(InputError, match="y: has nan at index"):
        reconstruct_file(source, tmp_path / "out.h5", options)


@pytest.fixture
def unserved(tmp_path):
    """A run behind a detector with a dark signal, which the network does not know."""
    scene = run_of(FRAMES, SIDE)
    write_challenge(tmp_path / "in.h5", [replace(scene, operator=scene.operator.with_stage(DarkRate(1.0)))])
    return tmp_path / "in.h5"


def test_a_run_that_the_network_does_not_serve_diverges_without_a_fallback(unserved, options, tmp_path):
    outcome = reconstruct_file(unserved, tmp_path / "out.h5", options)
    assert outcome.diverged == (NAME,)
    found = read_reconstruction(tmp_path / "out.h5", NAME)
    assert "does not serve this scene" in found.diagnostics["verdict"]
    assert not found.x_hat.any()
    assert found.x_hat.shape == (FRAMES, SIDE, SIDE)


@dataclass(frozen=True)
class Halves(SceneMethod):
    """Two blocks of frames, each with its number."""

    label, summary, uses_model = "halves", "For these tests.", False

    @classmethod
    def from_options(cls, options):
        return cls()

    def run(self, job):
        raise AssertionError("the whole run is asked for")

    def block_values(self, shape, frames):
        return shape[0] // 2 * shape[1] * shape[2]

    def blocks(self, job, shape, frames):
        cuts = [0, shape[0] // 2, shape[0]]
        boxes = [(slice(*cuts[i : i + 2]), slice(0, shape[1]), slice(0, shape[2])) for i in (0, 1)]
        return [Block(box, box) for box in boxes]

    def run_block(self, job, block):
        first = block.kept[0].start
        if job.seed == first == FRAMES // 2:
            raise ArithmeticError("does not add up")
        x = np.full(job.scene.y.shape, 0.1 + first / 1000, np.float32)
        correlation = np.full((3, *x.shape), 0.5, np.float32)
        known = job.posterior
        marks = {"iterations": first, "verdict": f"block from {first}"}
        spec = {"spec": known.spec, "spec_std": known.std, "spec_interval": known.interval}
        return Reconstruction(
            NAME,
            x,
            0.1 * x,
            **spec,
            status=Status.CONVERGED,
            seconds=1.0,
            diagnostics=marks,
            spec_correlation=correlation,
        )


@pytest.fixture
def halves(monkeypatch):
    monkeypatch.setitem(registry._METHODS, "halves", lambda: Halves)
    monkeypatch.setattr(LearnedMethod, "fallback", "halves")


def test_another_method_takes_a_run_that_the_network_refuses(halves, unserved, options, tmp_path):
    told = []
    reconstruct_file(unserved, tmp_path / "out.h5", replace(options, fallback=True), notify=told.append)
    found = read_reconstruction(tmp_path / "out.h5", NAME)
    half = FRAMES // 2
    assert found.x_hat[half - 1, 0, 0] == pytest.approx(0.1)
    assert found.x_hat[half, 0, 0] == pytest.approx(0.1 + half / 1000)
    assert found.diagnostics["fallback"]["method"] == "halves"
    assert any("halves" in line and "learned" in line for line in told)
    assert found.diagnostics["iterations"] == half
    assert found.diagnostics["variance_share_of_chain"]["lag"] == pytest.approx(0.25)


def test_a_block_that_fails_makes_the_run_diverged(halves, folder, options, tmp_path):
    failing = replace(options, method="halves", weights=None, seed=FRAMES // 2)
    outcome = reconstruct_file(folder / "in.h5", tmp_path / "out.h5", failing)
    assert outcome.diverged == (NAME,)
    found = read_reconstruction(tmp_path / "out.h5", NAME)
    assert "does not add up" in found.diagnostics["verdict"]
    assert not found.x_hat[FRAMES // 2 :].any()


def test_parts_of_a_file_are_those_of_the_whole(folder, tmp_path):
    selection = Selection(frames=(3, 38), crop=((2, 14), (0, 16)))
    scenes = open_scenes(folder / "in.h5", selection=selection)
    whole, run = scenes[NAME], scenes.run(NAME)
    assert run.shape == whole.y.shape
    part = run.part(slice(5, 9), slice(1, 4), slice(2, 16))
    np.testing.assert_array_equal(part.y, whole.y[5:9, 1:4, 2:16])
    assert part.acquisition == whole.acquisition
    assert part.metadata["selection"] == whole.metadata["selection"]
    covered = [frame for slab in run.slabs(10) for frame in range(slab.start, slab.stop)]
    assert covered == list(range(35))
    np.save(tmp_path / "run.npy", whole.y)
    array = open_scenes(tmp_path / "run.npy", selection=Selection(protocol={"photons_per_pixel": 400.0}))
    np.testing.assert_array_equal(array.run(array.names[0]).part(slice(5, 9)).y, whole.y[5:9])
    with pytest.raises(ValueError, match="expected two or more"):
        run.part(slice(4, 5))


def test_the_drift_of_a_long_run_is_per_frame(tmp_path):
    """A run of more than 256 frames is summed, and has the drift of single frames all the same."""
    write_challenge(tmp_path / "long.h5", [run_of(300, 32)])
    drift = calibrate_run(open_scenes(tmp_path / "long.h5").run(NAME)).marginals["gain_drift"]
    assert drift.std < 0.02
    assert abs(drift.mean - 0.3) < 3 * drift.std
    # a short one is calibrated as any scene
    short = run_of(6, 8)
    write_challenge(tmp_path / "short.h5", [short])
    found, expected = calibrate_run(open_scenes(tmp_path / "short.h5").run(NAME)), calibrate(short)
    np.testing.assert_array_equal(found.array("mean"), expected.array("mean"))


@pytest.mark.parametrize("shape", [(40, 33, 64), (300, 512, 512), (2000, 100, 190)])
@pytest.mark.parametrize("frames", [None, 150])
def test_tiles_partition_the_image_and_have_one_size(shape, frames):
    blocks = MapMethod().blocks(None, shape, frames)  # pyright: ignore[reportArgumentType]
    covered = np.zeros(shape[1:], int)
    for block in blocks:
        covered[block.kept[1:]] += 1
        for kept, seen, size in zip(block.kept, block.seen, shape, strict=True):
            assert kept.start == 0 or kept.start - seen.start >= HALO
            assert kept.stop == size or seen.stop - kept.stop >= HALO
    assert (covered == 1).all()
    assert len({tuple(s.stop - s.start for s in block.seen) for block in blocks}) == 1


def test_memory_decides_where_blocks_are_needed(options):
    whole = replace(options, block_frames=None)
    learned, long, short = make_method(whole), (300, 512, 512), (16, 128, 128)
    assert in_blocks(learned, long, whole)
    assert not in_blocks(learned, short, whole)
    assert estimate({"a": long}, whole).bytes <= 1.5 * WHOLE_BYTES
    assert not in_blocks(learned, (512, 512), options)


def test_lag_is_forgotten_within_the_lead():
    protocol = {"frame_time_ms": 33.3, "readout_delay_ms": 33.3, "lag_ms": 10.0}
    zero = np.zeros(3)
    assert lead_frames(protocol, zero, zero) < lead_frames({**protocol, "readout_delay_ms": 5.0}, zero, zero) <= 64


@pytest.mark.slow
def test_tiles_of_map_have_no_seams(tmp_path):
    """Twelve frames, whole and in four tiles: at most a tenth of a posterior standard deviation apart."""
    from fluorojax.simulation import SimulationOptions, simulate_scene

    scene = simulate_scene(5, SimulationOptions(frames=12, size=64, photons=1500.0))
    write_challenge(tmp_path / "in.h5", [replace(scene, x_true=None)])
    whole = ReconstructOptions(method="map", spec="true")
    reconstruct_file(tmp_path / "in.h5", tmp_path / "whole.h5", whole)
    reconstruct_file(tmp_path / "in.h5", tmp_path / "blocks.h5", replace(whole, block_frames=7))
    one, other = (read_reconstruction(tmp_path / f"{name}.h5", scene.name) for name in ("whole", "blocks"))
    assert other.diagnostics["blocks"]["number"] == 4
    apart = (other.x_hat - one.x_hat) / one.x_std
    assert np.sqrt(np.mean(apart**2)) < 0.1
    assert abs(np.mean(other.x_std / one.x_std) - 1) < 0.1
