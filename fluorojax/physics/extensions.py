"""Extensions of an imaging chain by name, as commands take them (``--stage``)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.scatter import Scatter, Unknown
from fluorojax.physics.slow_lag import SlowLag

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


def _dark_start(operator: FluoroscopyOperator) -> FluoroscopyOperator:
    if operator.stage(ChargeReleaseLag) is not None:
        operator = operator.with_stage(ChargeReleaseLag(start="dark"))
    if (slow := operator.stage(SlowLag)) is not None and slow.start == "steady":
        operator = operator.with_stage(SlowLag(slow.share, slow.frames, "dark", 0.0, slow.unknown))
    return operator


def _slow_lag(operator: FluoroscopyOperator) -> FluoroscopyOperator:
    now, fast = operator.stage(SlowLag), operator.stage(ChargeReleaseLag)
    if now is not None:
        return operator.with_stage(SlowLag(now.share, now.frames, now.start, now.exposed, "share"))
    slow = SlowLag(start="steady" if fast is None else fast.start, unknown="share")
    # Behind the fast lag, and before the gain.
    at = 0 if fast is None else [stage.name for stage in operator.stages].index(fast.name) + 1
    return FluoroscopyOperator((*operator.stages[:at], slow, *operator.stages[at:]), operator.attenuation)


EXTENSIONS: dict[str, Change] = {
    "scatter": _scatter("everything"),
    "scatter-share": _scatter("share"),
    "scatter-kernel": _scatter("kernel"),
    "glare": _glare("everything"),
    "glare-share": _glare("share"),
    "dark-start": _dark_start,
    "slow-lag": _slow_lag,
}
"""What each of :data:`fluorojax.data.choices.CHAIN_EXTENSIONS` does to an operator."""


RECOGNITION = "recognised"
"""Where the metadata of a scene and the diagnostics of a result hold what the data themselves showed of the chain:
``stages``, names of extensions, and ``sentence``, how it was found."""


def as_reconstructed(operator: FluoroscopyOperator, diagnostics: Mapping[str, Any]) -> FluoroscopyOperator:
    """The imaging chain of a scene as its reconstruction took it: with what was recognised in the counts."""
    told = diagnostics.get(RECOGNITION)
    stages = told.get("stages", ()) if isinstance(told, Mapping) else ()
    return extended(operator, [name for name in stages if name in EXTENSIONS])


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
