"""Shipped models are found by name, a user's own by path; what cannot be loaded says why."""

import jax.numpy as jnp
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.models.loading import list_models, load_model, model_for, model_path
from fluorojax.models.protocol import SceneData

EMPTY = "def model(data):\n    pass\n"


def test_the_shipped_models_are_listed():
    found = list_models()
    assert {"sequence", "single_frame"} <= set(found)
    assert all(path.is_file() for path in found.values())


@pytest.mark.parametrize(("name", "shape"), [("sequence", (4, 10, 12)), ("single_frame", (10, 12))])
def test_shipped_models_follow_the_protocol(name, shape):
    model = load_model(name)
    shapes = model.latent_shapes(SceneData(jnp.ones(shape), Acquisition(), SpecRanges.for_tier("dev")))
    assert model.name == name
    assert set(model.hyperparameters) < set(shapes)


def test_a_shipped_model_loads_by_path_too(tmp_path):
    copy = tmp_path / "mine.py"
    copy.write_text(list_models()["single_frame"].read_text())
    assert load_model(copy).name == "mine"
    assert load_model(str(copy)).hyperparameters == load_model("single_frame").hyperparameters


def test_the_optional_parts_have_defaults(tmp_path):
    (tmp_path / "plain.py").write_text(EMPTY)
    model = load_model(tmp_path / "plain.py")
    assert (model.hyperparameters, model.aux_rounds) == ((), 1)
    assert model.initial_aux is model.update_aux is model.pixel_variance is None


def test_an_edited_file_is_read_again(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(EMPTY)
    load_model(path)
    path.write_text("AUX_ROUNDS = 3\n" + EMPTY)
    assert load_model(path).aux_rounds == 3


def test_a_single_frame_goes_to_its_own_model():
    assert [model_for("sequence", dimensions) for dimensions in (2, 3)] == ["single_frame", "sequence"]
    assert model_for("mine.py", 2) == "mine.py"
    assert model_path("sequence") == list_models()["sequence"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"model is 'sequnce'; expected one of .*sequence, single_frame.* or the path"):
        load_model("sequnce")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.py: no such file"):
        load_model(tmp_path / "absent.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def model(data:\n", "SyntaxError"),
        ("import no_such_package_at_all\n", "ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("raise RuntimeError('out of\\n order')\n", "RuntimeError: out of order"),
        ("raise SystemExit('done')\n", "SystemExit: done"),
        ("", "defines no function 'model'"),
        ("model = 3\n", "defines no function 'model'"),
        ("AUX_ROUNDS = 0\n" + EMPTY, "AUX_ROUNDS is 0; expected a positive integer"),
        ("AUX_ROUNDS = 2.5\n" + EMPTY, "AUX_ROUNDS is 2.5; expected a positive integer"),
        ("AUX_ROUNDS = True\n" + EMPTY, "AUX_ROUNDS is True; expected a positive integer"),
        ("HYPERPARAMETERS = 'slope'\n" + EMPTY, "HYPERPARAMETERS is 'slope'; expected a tuple of names"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert "bad.py" in str(caught.value)
    assert "\n" not in str(caught.value)
