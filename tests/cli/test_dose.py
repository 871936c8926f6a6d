"""``dose`` and ``plan-dose`` on the command line."""

import json

import numpy as np
import pytest
from dose_files import event, save_report, totals
from planned import Law, make_result

from fluorojax.cli import main
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import Provenance, ReconstructionWriter


@pytest.fixture
def report(tmp_path):
    items = [totals(kerma=4.2), event("1.1", kerma=4.0, primary=0.0), event("1.2", "acquisition", kerma=0.2)]
    return save_report(tmp_path / "report.dcm", items)


def test_dose_prints_sums_skin_dose_and_notices(report, capsys):
    assert main(["dose", str(report), "--events"]) == 0
    out = capsys.readouterr().out
    assert "agree with all 1 totals" in out
    assert "Peak skin dose, estimated:" in out
    assert "The reference air kerma is 4.2 Gy and has reached the notice level of 4 Gy" in out
    assert "NCRP Report No. 168" in out
    assert "Irradiation events" in out


def test_dose_as_json(report, capsys):
    assert main(["dose", str(report), "--json", "--skin-distance", "60"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["totals"]["kerma_gy"] == pytest.approx(4.2)
    assert [notice["quantity"] for notice in document["notices"]] == ["kerma_gy", "skin_gy"]
    assert document["skin_dose"]["directions"] == [[0, 0, 4.0]]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--skin-distance", "5"], "--skin-distance is 5; expected 10 to 200 cm"),
        (["--skin-uncertainty", "90"], "--skin-uncertainty is 90; expected 0 to 30 cm"),
    ],
)
def test_dose_refuses_impossible_options(report, capsys, arguments, line):
    assert main(["dose", str(report), *arguments]) == 2
    assert line in capsys.readouterr().err


def test_dose_names_a_file_that_is_no_report(tmp_path, capsys):
    path = tmp_path / "a.dcm"
    path.write_bytes(b"nothing")
    assert main(["dose", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"fluorojax: {path}: is no DICOM file")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.fixture
def reconstruction(tmp_path):
    source = tmp_path / "in.h5"
    source.write_bytes(b"the counts")
    path = tmp_path / "out.h5"
    provenance = Provenance("sequence", "map", 0, {"spec": "calibrated", "samples": 16}, "in.h5", "0" * 64)
    with ReconstructionWriter(path, provenance, source=source) as writer:
        writer.write(make_result())
    return path


def test_plan_dose_states_parts_factor_and_law(reconstruction, capsys):
    assert main(["plan-dose", str(reconstruction), "--roi", "2:6,2:6", "--sd", "0.045", "--exponent", "1"]) == 0
    out = capsys.readouterr().out
    assert "standard deviation 0.05 now (0.03 from photon noise and prior, 0.04 from the unknown imaging chain)" in out
    assert "dose per frame: 2.12 times the present one" in out
    assert "2118 quanta per pixel and frame" in out
    assert "frames would be shorter than the exposure window" in out


def test_plan_dose_as_json(reconstruction, capsys):
    assert main(["plan-dose", str(reconstruction), "--roi", "2:6,2:6", "--sd", "0.06", "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    assert plan["factor"] < 1
    assert plan["planned_frames_per_second"] == pytest.approx(30 * plan["factor"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--roi", "2:6,2:6", "--sd", "0.03"], "the unknown imaging chain alone leaves 0.04"),
        (["--roi", "2:60,2:6", "--sd", "0.05"], "the region has rows 2:60; expected a range within 0:8"),
        (["--roi", "2:6", "--sd", "0.05"], "--roi is '2:6'; expected R0:R1,C0:C1"),
        (["--roi", "2:6,2:6", "--sd", "-1"], "the wanted standard deviation is -1"),
        (
            ["--roi", "2:6,2:6", "--sd", "0.05", "--scene", "other"],
            "no such scene in this file; expected one of sample_00",
        ),
        (["--roi", "2:6,2:6", "--sd", "0.05", "--exponent", "0"], "--exponent is 0"),
        (["--roi", "2:6,2:6", "--sd", "0.05", "--source", "x.h5"], "--source is given without --check"),
    ],
)
def test_plan_dose_refuses_in_one_line(reconstruction, capsys, arguments, line):
    assert main(["plan-dose", str(reconstruction), *arguments]) == 2
    captured = capsys.readouterr()
    assert line in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_the_check_runs_with_the_options_of_the_file(reconstruction, capsys, monkeypatch):
    seen = []
    law = Law()

    def run(scenes, options, *, progress=None):
        seen.append(options)
        return law(scenes, options)

    monkeypatch.setattr("fluorojax.runs.batches.reconstruct_scenes", run)
    assert main(["plan-dose", str(reconstruction), "--roi", "2:6,2:6", "--sd", "0.045", "--check", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "counts simulated from x_hat at both doses" in out
    assert "the exponent of this scene is 0.5" in out
    assert seen == [ReconstructOptions(method="map", samples=16)]
    assert np.isfinite(law.scenes["planned"].y).all()
