"""The lines of the ``Containerfile`` against the package as it is: paths, options, variables, what is documented."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
ENTRY = (ROOT / "inference" / "blind_entry.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def steps():
    """The instructions (word, rest) with their continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def of(steps, word):
    return [rest for found, rest in steps if found == word]


def in_context(path):
    """Whether a path of the source reaches the build."""
    ignored = [line for line in (ROOT / ".containerignore").read_text().splitlines() if line and line[0] != "#"]
    return (ROOT / path).exists() and not any(Path(path).is_relative_to(name) for name in ignored)


def test_the_instructions_are_known(steps):
    assert [word for word, _ in steps] == ["FROM", "COPY", "RUN", "USER", "WORKDIR", "ENV", "ENTRYPOINT"]
    assert of(steps, "COPY") == [". /source"]
    assert of(steps, "USER") == ["65534:65534"]


def test_all_that_the_build_takes_is_there_and_not_left_out(steps, project):
    (run,) = of(steps, "RUN")
    copied = re.findall(r"/source/(\S+)", run)
    assert copied == ["inference/blind_entry.py"]
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*copied, "pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]]
    for path in [*needed, *wheel["packages"], *wheel["force-include"]]:
        assert in_context(path), path


def test_nothing_in_the_package_needs_what_is_left_out():
    for path in sorted((ROOT / "fluorojax").rglob("*.py")):
        assert not re.search(r"^\s*(import|from) (tests|benchmarks)\b", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_entry_that_is_copied_is_the_one_that_is_run(steps):
    (run,), (entry,) = of(steps, "RUN"), of(steps, "ENTRYPOINT")
    assert "mkdir /entry && cp /source/inference/blind_entry.py /entry/ " in run
    assert json.loads(entry) == ["python", "/entry/blind_entry.py"]


def test_the_python_of_the_image_serves_the_package(steps, project):
    (image,) = of(steps, "FROM")
    version = re.fullmatch(r"docker\.io/library/python:3\.(\d+)-slim", image)
    assert version is not None
    least = re.fullmatch(r">=3\.(\d+)", project["project"]["requires-python"])
    assert least is not None
    assert int(version[1]) >= int(least[1])
    classifier = f"Programming Language :: Python :: 3.{version[1]}"
    stated = [found for found in project["project"]["classifiers"] if re.search(r":: 3\.\d+$", found)]
    assert not stated or classifier in stated


def test_the_variables_are_those_that_the_program_reads(steps):
    from fluorojax.runs.cache import CACHE_VARIABLE

    (settings,) = of(steps, "ENV")
    values = dict(setting.split("=", 1) for setting in settings.split())
    ours = {name for name in values if name.startswith("FLUOROJAX_")}
    assert ours == {"FLUOROJAX_INPUT", "FLUOROJAX_OUTPUT", CACHE_VARIABLE}
    for name in ("FLUOROJAX_INPUT", "FLUOROJAX_OUTPUT", "FLUOROJAX_TIME_LIMIT"):
        assert f'"{name}"' in ENTRY
        assert name in TEXT
    assert values[CACHE_VARIABLE] == "off"
    assert values["HOME"] == values["MPLCONFIGDIR"] == "/nonexistent"


def test_the_folders_of_the_command_are_those_of_the_image(steps):
    (settings,) = of(steps, "ENV")
    assert "FLUOROJAX_INPUT=/input " in settings
    assert "FLUOROJAX_OUTPUT=/output " in settings
    for option in ('-v "$PWD/input:/input:ro"', '-v "$PWD/output:/output:rw"', "--network=none", "--read-only"):
        assert option in TEXT
    limits = [int(found) for found in re.findall(r"(?:--timeout|TIME_LIMIT)=(\d+)", TEXT)]
    assert limits[0] > limits[1], "the entry ends by itself before the engine ends it"


def test_the_page_gives_the_commands_of_the_file():
    def commands(text):
        return [" ".join(found.split()) for found in re.findall(r"^podman.*$", text, flags=re.MULTILINE)]

    plain = re.sub(r"\\\n\s*", "", re.sub(r"^#\s*", "", TEXT, flags=re.MULTILINE))
    page = re.sub(r"\\\n\s*", "", (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8"))
    assert len(commands(plain)) == 2
    assert commands(plain) == commands(page)


@pytest.mark.parametrize("options", [["--method", "map"], ["--time-limit", "100"]])
def test_the_options_of_the_page_are_those_of_the_entry(options, monkeypatch):
    import runpy

    entry = runpy.run_path(str(ROOT / "inference" / "blind_entry.py"))
    monkeypatch.setattr(sys, "argv", ["blind_entry.py", *options])
    monkeypatch.setenv("FLUOROJAX_INPUT", "/input")
    monkeypatch.setenv("FLUOROJAX_OUTPUT", "/output")
    given = entry["arguments"]()
    assert (given.input, given.output) == ("/input", "/output")
    assert (given.method, given.time_limit) in {("map", None), ("", 100.0)}
