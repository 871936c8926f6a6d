"""The command, on its own application until it is registered."""

import json

import pytest
import typer

from fluorojax.cli.calibrate_check import calibrate_check
from fluorojax.validation import METHODS, distorted


@pytest.fixture
def run(monkeypatch, capsys, exact, linear_model):
    """Run the command on the linear model and its exact posterior; returns exit code and standard output."""
    app = typer.Typer()
    app.command()(calibrate_check)
    monkeypatch.setitem(METHODS, "exact", lambda: exact)
    monkeypatch.setitem(METHODS, "narrow", lambda: distorted(exact, sd_factor=0.6))
    monkeypatch.setattr("fluorojax.models.load_model", lambda name: linear_model)

    def call(*arguments):
        code = app(["--frames", "3", "--size", "4", *arguments], standalone_mode=False)
        return code, capsys.readouterr().out

    return call


def test_tables_and_exit_codes(run):
    code, out = run("--method", "exact", "--doses", "3,30")
    assert code == 0
    assert out.startswith("PASSED: exact on linear, 100 replicates of 3×4×4 at each of 2 doses")
    assert "gain_drift, 30 counts" in out
    assert "moving, 3 counts" in out
    code, out = run("--method", "narrow", "--doses", "3", "--quiet")
    assert (code, out) == (1, "")


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
