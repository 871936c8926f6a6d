"""Every public symbol has a docstring and stands in the API reference; the rule is in docs/_ext/public_api.py."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_api = load("public_api")


@pytest.fixture(scope="module")
def modules() -> list[str]:
    return public_api.public_modules()


def test_every_public_symbol_has_a_docstring(modules):
    assert public_api.undocumented(modules) == []


def test_every_public_module_stands_once_in_the_reference(modules):
    assert sorted(public_api.documented_modules(DOCS / "reference")) == modules


def test_packages_that_hand_names_on_are_shown_with_them(modules):
    pages = "\n".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    for name in modules:
        handed_on = public_api.handed_on(importlib.import_module(name))
        shown = f".. automodule:: {name}\n   :imported-members:\n" in pages
        assert shown == bool(handed_on), name


def test_constants_handed_on_have_an_entry_of_their_own(modules):
    """Autodoc passes over them: a constant has no docstring where it is handed on."""
    for name in modules:
        module = importlib.import_module(name)
        constants = [n for n in public_api.handed_on(module) if not callable(getattr(module, n))]
        pages = [p.read_text("utf-8") for p in (DOCS / "reference").glob("*.md")]
        [page] = [text for text in pages if f".. automodule:: {name}\n" in text]
        assert [n for n in constants if f".. py:data:: {n}\n" not in page] == [], name


def test_every_page_of_the_reference_is_in_its_contents():
    contents = (DOCS / "reference" / "index.md").read_text("utf-8").splitlines()
    pages = {page.stem for page in (DOCS / "reference").glob("*.md")} - {"index"}
    assert pages - set(contents) == set()


def test_the_rule_is_told_on_the_page():
    page = " ".join((DOCS / "reference" / "index.md").read_text("utf-8").split())
    for name in public_api.INTERNAL:
        assert importlib.util.find_spec(name) is not None
        assert f"`{name}`" in page


SAMPLE = {
    "__init__.py": '"""A package."""\n',
    "plain.py": '''"""A module."""

from pathlib import Path


def told(x):
    """Told."""


def untold(x):
    pass


def _private(x):
    pass


class Box:
    """A box."""

    size = 3

    def opened(self):
        """Opened."""

    def closed(self):
        pass

    @property
    def weight(self):
        return 1

    def _inner(self):
        pass
''',
    "_hidden.py": "def untold(x):\n    pass\n",
    "front/__init__.py": '"""Hands on."""\n\nfrom sample_package.front.back import shown as shown\n',
    "front/back.py": "def shown(x):\n    pass\n\n\ndef kept(x):\n    pass\n",
}


def test_the_rule_finds_what_is_public_and_what_is_not_told(tmp_path, monkeypatch):
    package = tmp_path / "sample_package"
    for name, text in SAMPLE.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(public_api, "PACKAGE", "sample_package")
    try:
        modules = public_api.public_modules()
        assert modules == ["sample_package.front", "sample_package.plain"]
        found = [name for module in modules for name, _ in public_api.symbols(module)]
        plain = "sample_package.plain"
        assert found == [
            "sample_package.front",
            "sample_package.front.shown",
            *(plain, f"{plain}.Box", f"{plain}.Box.opened", f"{plain}.Box.closed", f"{plain}.Box.weight"),
            *(f"{plain}.told", f"{plain}.untold"),
        ]
        assert public_api.undocumented(modules) == [
            "sample_package.front.shown",
            *(f"{plain}.Box.closed", f"{plain}.Box.weight", f"{plain}.untold"),
        ]
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "sample_package"]:
            del sys.modules[name]
