"""What the pages say of files, commands and models is what the code does."""

import importlib.util
import re
import tomllib
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import typer

from fluorojax.cli import app
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES, TIERS, Spec, SpecRanges
from fluorojax.io import Provenance, ReconstructionWriter, write_challenge
from fluorojax.models.loading import load_model
from fluorojax.models.protocol import SceneData
from fluorojax.subtraction.files import SubtractSettings, subtract_file

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHAPE = (6, 24, 24)


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text("utf-8")


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def named(text: str) -> set[str]:
    """Words in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def written(path: Path) -> set[str]:
    """Names of all root attributes, and of the attributes, datasets and groups of the first scene."""
    with h5py.File(path, "r") as handle:
        group = handle["sample_00"]
        return {*handle.attrs, *group.attrs, *group}


@pytest.fixture(scope="module")
def scene() -> Scene:
    rng = np.random.default_rng(0)
    x = np.full(SHAPE, 0.3, np.float32) + 0.1 * rng.random(SHAPE[1:]).astype(np.float32)
    return Scene(
        name="sample_00",
        y=rng.poisson(1500 * np.exp(-7 * x)).astype(np.float32),
        acquisition=Acquisition(),
        ranges=SpecRanges.for_tier("public"),
        x_true=x,
        true_spec=Spec(),
    )


@pytest.fixture(scope="module")
def challenge(scene, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("docs") / "in.h5"
    write_challenge(path, [scene], provenance={"seed": 0})
    return path


def test_challenge_files_hold_the_fields_of_the_page(challenge):
    told = named(section(page("files"), "Challenge file"))
    assert written(challenge) - told == set()
    assert set(Acquisition.__dataclass_fields__) - told == set()


def test_reconstruction_files_hold_the_fields_of_the_page(scene, challenge, tmp_path):
    interval = {name: (-1.0, 1.0) for name in SPEC_NAMES}
    result = Reconstruction(
        name=scene.name,
        x_hat=scene.x_true,
        x_std=scene.x_true,
        spec=Spec(),
        spec_std=Spec(1.0, 1.0, 1.0),
        spec_interval=interval,
        status=Status.CONVERGED,
        seconds=1.0,
        spec_correlation=np.zeros((3, *SHAPE)),
        x_quantiles=np.zeros((5, *SHAPE)),
        draws={"lag": np.zeros((2, 4))},
        sample_stats={"diverging": np.zeros((2, 4), bool)},
    )
    path = tmp_path / "out.h5"
    with ReconstructionWriter(path, Provenance.of_run(challenge, ReconstructOptions()), source=challenge) as writer:
        writer.write(result)
        writer.note_skipped({"sample_01": "bad"})
    told = named(section(page("files"), "Reconstruction file"))
    assert written(path) - told == set()
    assert {status.name.lower() for status in Status} - told == set()


@pytest.mark.parametrize("mode", ["subtraction", "road map"])
def test_subtraction_files_hold_the_fields_of_the_page(challenge, tmp_path, mode):
    path = tmp_path / "dsa.h5"
    subtract_file(challenge, path, SubtractSettings(mask=(0, 1), mode=mode, register=False))
    assert written(path) - named(section(page("files"), "Subtraction file")) == set()


def test_ranges_of_the_page_are_those_of_the_tiers():
    rows = [line.split("|") for line in page("physics").splitlines() if line.startswith("| `")]
    stated = {cells[1].strip(" `"): [cell.strip().replace("−", "-") for cell in cells[4:7]] for cells in rows}
    for name in SPEC_NAMES:
        expected = ["{:g} … {:g}".format(*TIERS[tier][name]) for tier in ("public", "dev", "hidden")]
        assert stated[name] == expected


def test_the_model_of_the_page_follows_the_protocol(scene):
    model = load_model(DOCS / "examples" / "my_model.py")
    data = SceneData(jnp.asarray(scene.y), scene.acquisition, scene.ranges)
    assert set(model.latent_shapes(data)) == {"spec_base", "static", "level"}


def command_lines() -> list[tuple[str, str, str]]:
    """Page, command and the rest of every command line in a code block."""
    found = []
    for path in sorted(DOCS.glob("*.md")):
        for block in re.findall(r"^```\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S):
            lines = re.findall(r"(?:^|&& )fluorojax ([a-z-]+)(.*)$", block, re.M)
            found += [(path.name, command, rest) for command, rest in lines]
    return found


def test_commands_and_options_of_the_pages_exist():
    commands = typer.main.get_command(app).commands
    assert {command for _, command, _ in command_lines()} >= {"demo", "reconstruct", "report", "calibrate-check"}
    for where, command, rest in command_lines():
        assert command in commands, where
        meant, word = commands[command], rest.split()[0] if rest.split() else ""
        if hasattr(meant, "commands") and word:
            assert word in meant.commands, f"{where}: fluorojax {command} {word}"
            meant = meant.commands[word]
        known = {spelling for p in meant.params for spelling in (*p.opts, *p.secondary_opts)}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) - known == set(), f"{where}: fluorojax {command}"


def test_the_command_page_states_a_meaning_for_every_argument_and_option():
    spec = importlib.util.spec_from_file_location("docs_command_line", DOCS / "_ext" / "command_line.py")
    assert spec is not None
    assert spec.loader is not None
    pytest.importorskip("sphinx", reason="the page is made by a Sphinx directive")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = [line for line in module.command_pages() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.endswith("|  |")] == []


def test_extras_of_the_page_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"fluorojax\[(\w+)\]", page("installation"))) == set(extras)
