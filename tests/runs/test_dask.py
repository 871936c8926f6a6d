"""Scenes over a Dask cluster of two processes: every scene once, the answers of one process, whatever dies."""

import sys
import time

import methods_for_clusters as obedient
import pytest
from small_models import MODEL

from fluorojax.cli import main
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import (
    list_reconstructions,
    parts_folder,
    read_provenance,
    read_reconstruction,
    write_challenge,
)
from fluorojax.runs.dask import DaskCluster
from fluorojax.runs.files import reconstruct_file, reconstruct_files
from fluorojax.runs.inputs import FilePair
from fluorojax.runs.progress import ProgressDisplay
from fluorojax.simulation import SimulationOptions, simulate_scenes

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")

SCENES = 4
OPTIONS = ReconstructOptions(method=obedient.NAME, spec="nominal", seed=3)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The folder that tells the method what to do."""
    return tmp_path_factory.mktemp("told")


@pytest.fixture(scope="module")
def cluster(told):
    """Two workers with one thread each, which a nanny starts again when they die; a scene may kill two of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(obedient.TOLD, str(told))
        patch.setenv("JAX_PLATFORMS", "cpu")
        obedient.register()
        settings = {
            "distributed.scheduler.allowed-failures": 1,
            "distributed.worker.preload": [obedient.__name__],
            # a nanny gives up on a worker that takes longer to start, as it may on a busy machine
            "distributed.comm.timeouts.connect": "300s",
        }
        import dask

        with (
            dask.config.set(settings),
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
            ) as found,
        ):
            yield found


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    path = tmp_path_factory.mktemp("shared") / "in.h5"
    write_challenge(path, simulate_scenes(SCENES, 0, SimulationOptions(frames=4, size=16)))
    return path


@pytest.fixture
def tell(told):
    """Tell the method something; all is forgotten after the test."""
    yield lambda what: (told / what).write_text("")
    for path in told.iterdir():
        path.unlink(missing_ok=True)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.h5"


class Recorder(ProgressDisplay):
    def __init__(self):
        self.total, self.updates = 0, []

    def start(self, total, unit="scene"):
        self.total = total

    def update(self, done, note):
        self.updates.append((done, note))


def images(path):
    """What a file holds of every scene, and of the run, times excluded."""
    found = {}
    for name in list_reconstructions(path):
        result = read_reconstruction(path, name)
        found[name] = (result.x_hat.tobytes(), result.x_std.tobytes(), result.spec, result.status, result.diagnostics)
    return found, read_provenance(path)


def over(cluster, challenge, out, **settings):
    place = DaskCluster(cluster.scheduler_address, wait=300, notify=settings.get("notify", str))
    return reconstruct_file(challenge, out, settings.pop("options", OPTIONS), place=place, **settings)


def computed(told):
    return [line.split()[0] for line in (told / "computed").read_text().splitlines()]


def test_two_workers_give_the_answers_of_one_process(cluster, challenge, told, tell, out, tmp_path):
    progress, lines = Recorder(), []
    outcome = over(cluster, challenge, out, progress=progress, notify=lines.append)
    assert outcome.exit_code == 0
    workers = {line.split()[1] for line in (told / "computed").read_text().splitlines()}
    assert sorted(computed(told)) == [f"sample_0{i}" for i in range(SCENES)]
    assert len(workers) == 2
    assert progress.total == SCENES
    assert progress.updates[-1] == (SCENES, progress.updates[-1][1])
    assert {note.partition(":")[0] for _, note in progress.updates} == set(list_reconstructions(out))
    assert any("2 workers" in line for line in lines)
    assert not parts_folder(out).exists()

    alone = tmp_path / "alone.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(obedient.TOLD, str(told))
        reconstruct_file(challenge, alone, OPTIONS)
    assert images(out) == images(alone)


def test_a_worker_that_is_killed_costs_no_scene(cluster, challenge, told, tell, out):
    tell("kill sample_01")
    outcome = over(cluster, challenge, out)
    assert outcome.exit_code == 0
    assert list_reconstructions(out) == [f"sample_0{i}" for i in range(SCENES)]
    times = {name: computed(told).count(name) for name in list_reconstructions(out)}
    assert times == {"sample_00": 1, "sample_01": 2, "sample_02": 1, "sample_03": 1}


def test_a_scene_that_kills_every_worker_is_skipped_and_the_others_go_on(cluster, challenge, told, tell, out):
    tell("always kill sample_02")
    errors = []
    outcome = over(cluster, challenge, out, on_error=errors.append)
    assert list(outcome.skipped) == ["sample_02"]
    assert "its worker died 2 times" in outcome.skipped["sample_02"]
    assert [error.scene for error in errors] == ["sample_02"]
    assert list_reconstructions(out) == ["sample_00", "sample_01", "sample_03"]
    assert computed(told).count("sample_02") == 2


def test_errors_come_back_by_the_name_of_their_scene(cluster, challenge, told, tell, out):
    tell("fail sample_00")
    tell("break sample_01")
    with pytest.raises(RuntimeError, match=r"^sample_01: RuntimeError: told to break$"):
        over(cluster, challenge, out)
    assert not out.exists()
    (told / "break sample_01").unlink()
    outcome = over(cluster, challenge, out)
    assert outcome.diverged == ("sample_00",)
    assert "told to fail" in read_reconstruction(out, "sample_00").diagnostics["verdict"]
    assert {name: computed(told).count(name) for name in ("sample_00", "sample_01")} == {"sample_00": 1, "sample_01": 2}


def test_scenes_of_one_task_that_fails_are_tried_one_by_one(cluster, challenge, told, tell, out):
    tell("always kill sample_02")
    options = ReconstructOptions(method=obedient.NAME, spec="nominal", seed=3, batch=SCENES)
    outcome = over(cluster, challenge, out, options=options, on_error=lambda error: None)
    assert list(outcome.skipped) == ["sample_02"]
    assert list_reconstructions(out) == ["sample_00", "sample_01", "sample_03"]
    assert computed(told).count("sample_00") == 1, "what the dead worker had finished stands"


def test_many_files_are_written_as_they_are_finished(cluster, challenge, told, tell, tmp_path):
    sources = [tmp_path / f"run{i}.h5" for i in range(3)]
    for source in sources:
        source.write_bytes(challenge.read_bytes())
    pairs = [FilePair(source, source.with_suffix(".out.h5")) for source in sources]
    done = []
    place = DaskCluster(cluster.scheduler_address, wait=300)
    outcomes = reconstruct_files(pairs, OPTIONS, place=place, on_file=lambda pair, *rest: done.append(pair))
    assert [outcome is not None and outcome.exit_code for outcome in outcomes] == [0, 0, 0]
    assert sorted(pair.source for pair in done) == sources
    assert len({str(images(pair.output)[0]) for pair in pairs}) == 1
    assert len(computed(told)) == 3 * SCENES


def test_the_time_limit_ends_the_run_and_the_same_call_goes_on(cluster, challenge, told, tell, out):
    tell("wait sample_03")
    outcome = over(cluster, challenge, out, time_limit=15)
    assert list(outcome.skipped) == ["sample_03"]
    assert outcome.skipped["sample_03"].startswith("not computed: the time limit of 15 s")
    assert list_reconstructions(out) == ["sample_00", "sample_01", "sample_02"]
    (told / "wait sample_03").unlink()
    before = computed(told)
    assert over(cluster, challenge, out).exit_code == 0
    assert set(computed(told)[len(before) :]) == {"sample_03"}
    assert list_reconstructions(out) == [f"sample_0{i}" for i in range(SCENES)]


def test_leaving_early_withdraws_the_tasks(cluster, challenge, told, tell, out):
    """What happens on Ctrl-C: the worker that computes stops at its next report."""
    tell("wait sample_00")

    def stop(line):
        if "half way" in line or "waiting" in line:
            raise KeyboardInterrupt

    class Stopping(Recorder):
        def update(self, done, note):
            super().update(done, note)
            stop(note)

    with pytest.raises(KeyboardInterrupt):
        over(cluster, challenge, out, progress=Stopping())
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        end = time.monotonic() + 60
        while any(client.call_stack().values()) and time.monotonic() < end:
            time.sleep(0.2)
        assert not any(client.call_stack().values())
    (told / "wait sample_00").unlink()
    assert over(cluster, challenge, out).exit_code == 0


def test_map_gives_the_answers_of_one_process(cluster, challenge, tell, out, tmp_path):
    model = tmp_path / "small.py"
    model.write_text(MODEL)
    options = ReconstructOptions(method="map", model=str(model), spec="nominal")
    assert over(cluster, challenge, out, options=options).exit_code == 0
    alone = tmp_path / "alone.h5"
    reconstruct_file(challenge, alone, options)
    assert images(out) == images(alone)


def test_a_worker_with_other_versions_is_told(cluster, challenge, out, monkeypatch):
    monkeypatch.setattr("fluorojax.io.package_versions", lambda: {"fluorojax": "0.0.1", "jax": "0.8.0"})
    with pytest.raises(ValueError, match=r"worker tcp://\S+ has fluorojax \S+ \(expected 0\.0\.1\), jax"):
        over(cluster, challenge, out)
    assert not out.exists()


def test_a_worker_that_does_not_see_the_folder_is_told(cluster, challenge, out, tmp_path, monkeypatch):
    from fluorojax.runs import shares

    elsewhere = tmp_path / "nowhere" / "in.h5"
    monkeypatch.setattr(shares.Share, "absolute", lambda self: shares.replace(self, source=elsewhere))
    with pytest.raises(ValueError, match=r"does not see .*nowhere/in\.h5; expected a folder that all machines share"):
        over(cluster, challenge, out)


def test_no_scheduler_and_no_workers_are_one_line_each(challenge, out, capsys):
    code = main(["reconstruct", str(challenge), "-o", str(out), "--scheduler", "dask", "--address", "tcp://127.0.0.1:9",
                 "--wait", "1"])  # fmt: skip
    line = capsys.readouterr().err
    assert (code, line.count("\n")) == (2, 1)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in line
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as empty,
        pytest.raises(ValueError, match=r"has had no workers for 0 s; start some with `dask worker tcp://"),
    ):
        reconstruct_file(challenge, out, OPTIONS, place=DaskCluster(empty.scheduler_address, wait=0))
    assert not out.exists()


def test_without_the_package_one_line_says_how_to_install_it(challenge, out, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    command = ["reconstruct", str(challenge), "-o", str(out), "--scheduler", "dask", "--address", "tcp://127.0.0.1:9"]
    assert main(command) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "pip install 'fluorojax[dask]'" in line


def test_an_address_is_needed_and_needs_a_scheduler(challenge, out, capsys):
    assert main(["reconstruct", str(challenge), "-o", str(out), "--scheduler", "dask"]) == 2
    assert main(["reconstruct", str(challenge), "-o", str(out), "--address", "tcp://127.0.0.1:9"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "--scheduler is 'dask' without --address" in lines[0]
    assert "without --scheduler" in lines[1]
