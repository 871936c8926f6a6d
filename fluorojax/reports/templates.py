"""The HTML of reports as Jinja2 templates. Every text that enters a template is escaped unless it is HTML already."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, /, **values: Any) -> Markup:
    """The template ``templates/TEMPLATE.html`` with these values, as HTML that other templates take unchanged.

    Strings are escaped; only :class:`markupsafe.Markup`, which this function returns, counts as HTML. A value that the
    template asks for and that is missing raises :class:`jinja2.UndefinedError`.
    """
    return Markup(_environment().get_template(f"{template}.html").render(values))


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fluorojax.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
