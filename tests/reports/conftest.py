"""One browser for all tests that look at pages."""

import pytest
from report_browser import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    window = Browser(tmp_path_factory.mktemp("profile"))
    yield window
    window.close()
