"""Settings of the documentation site: ``sphinx-build -W --keep-going -n -b html docs docs/_build/html``.

The built pages load nothing from a network: formulas are MathML, fonts and scripts are the theme's own.
"""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "fluorojax"
author = "The fluorojax developers"
release = metadata.version("fluorojax")

extensions = [
    "sphinx.ext.autodoc",
    "myst_nb",
    "annotations",
    "command_line",
    "mathml",
    "notebook_pages",
    "public_api",
]
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = "fluorojax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
highlight_language = "none"
pygments_style = "default"
pygments_dark_style = "monokai"

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
# "--draws" is an option, not a dash.
smartquotes = False

# Notebooks are shown as they were committed; tests run them.
nb_execution_mode = "off"

autodoc_default_options = {"members": True, "special-members": "__call__", "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# References into fluorojax have to resolve. Inventories of other projects would need a network at build time.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!fluorojax\b).*"),
    ("py:.*", r"fluorojax\.(.+\.)?_.*"),
    ("py:.*", r"fluorojax\.(cli|benchmark)\b.*"),
    # Type variables, and classes that only the table of formats and the runs name.
    ("py:.*", r"fluorojax\.(engines\.iteration\.State|io\.reader\.SceneReader|io\.blocks\.BlockStore)"),
]
