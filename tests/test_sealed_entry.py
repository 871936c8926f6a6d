"""The entry for blind evaluation under the conditions of the container, by means of the kernel's namespaces.

No network, a root that cannot be written, no home, an unprivileged user: what ``podman run --read-only --network=none``
does with the ``Containerfile``, as far as that can be had without a container engine.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import methods_for_clusters as obedient
import numpy as np
import pytest

from fluorojax.io import list_reconstructions, read_reconstruction, read_skipped, write_challenge
from fluorojax.simulation import SimulationOptions, simulate_scenes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534

# Says what the process can do, so that a seal that leaks is a failure of the test, and runs the entry then.
SEALED = """
import os, runpy, socket, sys
from pathlib import Path

assert os.getuid() == {nobody}, "the user is privileged"
try:
    Path("/usr/fluorojax-was-here").write_text("")
    sys.exit("the root can be written")
except OSError:
    pass
try:
    Path(os.environ["FLUOROJAX_INPUT"], "new").write_text("")
    sys.exit("the input can be written")
except OSError:
    pass
assert [name for _, name in socket.if_nameindex()] == ["lo"], "there is a network"
sys.path.insert(0, {tests!r})
import methods_for_clusters
methods_for_clusters.register()
sys.argv = ["blind_entry.py", *sys.argv[1:]]
runpy.run_path({entry!r}, run_name="__main__")
"""


def bwrap(folder):
    """The beginning of a command line that runs the rest sealed, or None where the kernel or the tools refuse."""
    if shutil.which("bwrap") is None:
        return None
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--uid", str(NOBODY), "--gid", str(NOBODY)]
    command += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--ro-bind", str(folder / "input"), str(folder / "input")]
    command += ["--bind", str(folder / "output"), str(folder / "output")]
    command += ["--bind", str(folder / "told"), str(folder / "told")]
    works = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if works.returncode == 0 else None


@pytest.fixture
def sealed(tmp_path):
    """Run the entry sealed, on ``tmp_path/input``; returns exit code, output and the seconds that it took."""
    for name in ("input", "output", "told"):
        (tmp_path / name).mkdir()
    command = bwrap(tmp_path)
    if command is None:
        pytest.skip("needs bubblewrap (bwrap) and a kernel that permits user namespaces")
    if os.getuid() == 0:  # in the namespace, the user nobody is the owner of what root owns outside
        os.chmod(tmp_path, 0o755)

    def run(*arguments):
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/nonexistent",
            "JAX_PLATFORMS": "cpu",
            "FLUOROJAX_INPUT": str(tmp_path / "input"),
            "FLUOROJAX_OUTPUT": str(tmp_path / "output"),
            obedient.TOLD: str(tmp_path / "told"),
        }
        script = SEALED.format(nobody=NOBODY, tests=str(ROOT / "tests"), entry=str(ROOT / "inference/blind_entry.py"))
        begin = time.monotonic()
        done = subprocess.run(
            [*command, sys.executable, "-c", script, *arguments],
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, time.monotonic() - begin

    return run


@pytest.fixture
def challenge(tmp_path, sealed):
    """A challenge file of three scenes in the input."""
    path = tmp_path / "input" / "b_good.h5"
    write_challenge(path, simulate_scenes(3, 0, SimulationOptions(frames=4, size=16)))
    return path


def test_outputs_are_complete_and_a_hostile_file_is_named(sealed, challenge, tmp_path):
    good = challenge.read_bytes()
    (tmp_path / "input" / "a_hostile.h5").write_bytes(good[:2048] + os.urandom(256) + good[2304:4000])
    (tmp_path / "input" / "c_link.h5").symlink_to("/etc/passwd")
    code, told, _ = sealed("--method", "hold")
    assert code == 1, told
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["b_good.h5"], told
    names = list_reconstructions(tmp_path / "output" / "b_good.h5")
    assert names == ["sample_00", "sample_01", "sample_02"]
    for name in names:
        assert np.isfinite(read_reconstruction(tmp_path / "output" / "b_good.h5", name).x_hat).all()
    assert "not fully usable: a_hostile.h5, c_link.h5" in told
    assert "compiled programs are not kept" in told
    assert "Traceback" not in told
    assert told.count("\n") < 30


def test_the_entry_ends_before_its_limit_and_names_what_is_missing(sealed, challenge, tmp_path):
    """A scene that never ends: the others are written, and the process ends by itself."""
    (tmp_path / "told" / "wait sample_01").write_text("")
    code, told, seconds = sealed("--method", obedient.NAME, "--time-limit", "100")
    assert code == 1, told
    assert seconds < 160  # 100, and what a busy machine takes to end a process
    output = tmp_path / "output" / "b_good.h5"
    assert list_reconstructions(output) == ["sample_00"]
    assert list(read_skipped(output)) == ["sample_01", "sample_02"]
    for name in ("sample_01", "sample_02"):
        assert f"b_good.h5: {name}: not computed: the time limit of" in told
    before = read_reconstruction(output, "sample_00")
    (tmp_path / "told" / "wait sample_01").unlink()
    (tmp_path / "told" / "computed").unlink()
    code, told, _ = sealed("--method", obedient.NAME)
    assert code == 0, told
    assert list_reconstructions(output) == ["sample_00", "sample_01", "sample_02"]
    computed = (tmp_path / "told" / "computed").read_text().split()
    assert computed[::2] == ["sample_01", "sample_02"]
    np.testing.assert_array_equal(read_reconstruction(output, "sample_00").x_hat, before.x_hat)
