"""Extensions of an imaging chain by name, as commands take them (``--stage``)."""

from collections.abc import Callable, Iterable

from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.scatter import Scatter, Unknown

Change = Callable[[FluoroscopyOperator], FluoroscopyOperator]


def _scatter(unknown: Unknown) -> Change:
    def apply(operator: FluoroscopyOperator) -> FluoroscopyOperator:
        now = operator.stage(Scatter) or Scatter()
        return operator.with_stage(Scatter(now.width, now.tail, unknown))

    return apply


def _glare(unknown: Unknown) -> Change:
    def apply(operator: FluoroscopyOperator) -> FluoroscopyOperator:
        now = operator.stage(VeilingGlare) or VeilingGlare()
        return operator.with_stage(VeilingGlare(now.share, now.radius, unknown))

    return apply


EXTENSIONS: dict[str, Change] = {
    "scatter": _scatter("everything"),
    "scatter-share": _scatter("share"),
    "scatter-kernel": _scatter("kernel"),
    "glare": _glare("everything"),
    "glare-share": _glare("share"),
}
"""What each of :data:`fluorojax.data.choices.CHAIN_EXTENSIONS` does to an operator."""


def check_extensions(names: Iterable[str]) -> None:
    """Raise ``ValueError`` naming an extension that does not exist."""
    for name in names:
        if name not in EXTENSIONS:
            raise ValueError(f"stage is {name!r}; expected names among {', '.join(EXTENSIONS)}")


def extended(operator: FluoroscopyOperator, names: Iterable[str]) -> FluoroscopyOperator:
    """The imaging chain with the extensions ``names``, in their order; raises ``ValueError`` for an unknown one."""
    names = tuple(names)
    check_extensions(names)
    for name in names:
        operator = EXTENSIONS[name](operator)
    return operator
