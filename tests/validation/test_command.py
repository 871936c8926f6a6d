"""The command, on its own application until it is registered."""

import json
import re

import jax.numpy as jnp
import pytest
import typer

from fluorojax.cli.calibrate_check import calibrate_check
from fluorojax.validation import REFERENCES, PosteriorSummary, distorted


@pytest.fixture
def command(monkeypatch, capsys, exact, linear_model):
    """Run the command on the linear model and its exact posterior; returns exit code, standard output and error."""
    app = typer.Typer()
    app.command()(calibrate_check)
    monkeypatch.setitem(REFERENCES, "exact", lambda: exact)
    monkeypatch.setitem(REFERENCES, "narrow", lambda: distorted(exact, sd_factor=0.6))
    monkeypatch.setitem(REFERENCES, "failing", lambda: _failing(exact))
    monkeypatch.setattr("fluorojax.models.loading.load_model", lambda name: linear_model)

    def call(*arguments):
        code = app(["--frames", "3", "--size", "4", *arguments], standalone_mode=False)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def run(command):
    """As ``command``, without standard error."""
    return lambda *arguments: command(*arguments)[:2]


def _failing(method):
    """The first scene of every batch gives no draws."""

    def call(model, data, keys, draws):
        found = method(model, data, keys, draws)
        return PosteriorSummary(found.spec, found.x.at[0].set(jnp.nan))

    return call


def test_tables_and_exit_codes(run):
    code, out = run("--method", "exact", "--doses", "3,30")
    assert code == 0
    assert out.startswith("PASSED: exact on linear, 100 replicates of 3×4×4 at each of 2 doses")
    assert "gain_drift, 30 counts" in out
    assert "moving, 3 counts" in out
    code, out = run("--method", "narrow", "--doses", "3", "--quiet")
    assert (code, out) == (1, "")


def test_progress_tells_the_coverage_so_far_and_what_failed(command):
    arguments = ("--replicates", "40", "--batch", "20", "--doses", "3,30")
    *_, err = command("--method", "exact", *arguments, "--verbose")
    lines = [line for line in err.splitlines() if not line.startswith("fluorojax:")]
    assert [line.split()[1] for line in lines] == ["20/80", "40/80", "60/80", "80/80"]
    pattern = (
        r"replicates?[/ ,].*left\): 3 counts: 90 % intervals hold (\d+\.\d) % of the pixels, 0 of 40 replicates failed"
    )
    found = re.search(pattern, lines[1])
    assert abs(float(found[1]) - 90) < 5
    *_, err = command("--method", "failing", *arguments, "--verbose")
    assert err.splitlines()[-1].endswith("2 of 40 replicates failed")
    assert command("--method", "exact", *arguments, "--quiet") == (0, "", "")


def test_json(run):
    code, out = run("--method", "narrow", "--json", "--doses", "30")
    assert code == 1
    document = json.loads(out)
    assert document["passed"] is False
    assert "too narrow" in document["sentences"][1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--doses", "3;30"], "doses is '3;30'; expected numbers separated by commas"),
        (["--doses", "0"], "dose is 0; expected a positive number"),
        (["--replicates", "3"], "replicates is 3; expected a whole number ≥ 20"),
        (["--method", "magic"], "method is 'magic'"),
    ],
)
def test_bad_input_is_a_value_error_for_the_application_to_print(run, arguments, message):
    with pytest.raises(ValueError, match=message):
        run(*arguments)
