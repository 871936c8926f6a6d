"""The figure: a panel for each cell, methods in one order on all of them."""

import pytest

from fluorojax.benchmark.figure import draw


def cell(name, methods):
    scenarios = {name: {"psnr": 30.0 + i} for i, name in enumerate(("I", "II", "III"))}
    return {
        "cell": name,
        "methods": [
            {"method": m, "label": f"method {m}", "scenarios": {} if m == "bm3d" else scenarios} for m in methods
        ],
    }


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_cells_makes_a_picture(tmp_path, count):
    cells = [cell(f"cell {i}", ("raw", "map", "bm3d") if i else ("raw", "bm3d")) for i in range(count)]
    path = tmp_path / "figure.png"
    for _ in range(2):  # an old one is replaced
        draw({"cells": cells}, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]
