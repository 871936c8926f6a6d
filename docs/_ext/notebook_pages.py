"""Brings the notebooks of ``notebooks/`` into the source folder of the site, where Sphinx looks for pages."""

import shutil
from pathlib import Path


def copy_notebooks(app, config) -> None:
    """Copy every notebook to ``docs/notebooks``, which git ignores, and remove copies whose original is gone."""
    source, target = Path(app.srcdir).parent / "notebooks", Path(app.srcdir) / "notebooks"
    target.mkdir(exist_ok=True)
    for old in target.glob("*.ipynb"):
        if not (source / old.name).is_file():
            old.unlink()
    for path in source.glob("*.ipynb"):
        copy = target / path.name
        if not copy.is_file() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)


def setup(app):
    """Copy before pages are looked for."""
    app.connect("config-inited", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
