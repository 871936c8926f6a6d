"""A dose report that most tests begin with."""

import pytest
from dose_files import event, save_report, totals


@pytest.fixture
def report(tmp_path):
    """Two events of fluoroscopy and one acquisition, whose totals are right."""
    items = [
        totals(kerma=0.6, area_product=6e-3, fluoroscopy=30.0),
        event("1.2.1", kerma=0.1, area_product=1e-3, duration=10.0, primary=0.0, secondary=0.0),
        event("1.2.2", kerma=0.2, area_product=2e-3, duration=20.0, primary=2.0, secondary=0.0),
        event("1.2.3", "acquisition", kerma=0.3, area_product=3e-3, duration=4.0, primary=60.0, secondary=0.0),
    ]
    return save_report(tmp_path / "report.dcm", items)
