"""What happens to a stream besides its frames, as records and in words."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from fluorojax.streaming.state import MOVED, News


@dataclass(frozen=True)
class Event:
    """Something that a stream noticed."""

    kind: str
    """What it is: ``dose``, a step of dose; ``missing``, frames that did not come; ``rate``, another frame rate;
    ``view``, a moved view; ``bad frame``, a frame that could not be used; ``dropped``, frames that came while the
    computation was late; ``stalled``, a source without frames; ``output``, an output that cannot be written."""
    frame: int
    """Index of the frame in the source, from zero."""
    text: str
    """The event in words, one line."""
    value: float = math.nan
    """Factor of the dose, number of frames, frames per second, or share of the field, by the kind."""
    std: float = math.nan
    """Standard deviation of :attr:`value`, where there is one."""

    def as_dict(self) -> dict[str, Any]:
        """The fields; those that are not a number are left out."""
        return {name: value for name, value in asdict(self).items() if value == value}


def events_of(news: News, frame: int, *, period_ms: float, moving: bool = False) -> list[Event]:
    """The events of one step.

    **Arguments:** ``news`` of the state after the step; ``frame`` its index; ``period_ms`` the frame period after it;
    ``moving`` whether the view was already changing in the frame before, which is then not told again.
    """
    found = []
    if missing := round(float(news.missing)):
        number = "one frame is" if missing == 1 else f"{missing} frames are"
        found.append(Event("missing", frame, f"{number} missing before frame {frame}", missing))
    if float(news.rate_changed) > 0:
        rate = 1000 / period_ms
        found.append(Event("rate", frame, f"the frame rate is {rate:.3g}/s from frame {frame} on", rate))
    if (log_dose := float(news.log_dose)) != 0:
        factor = math.exp(log_dose)
        text = f"the dose changes by a factor of {factor:.3g} at frame {frame}"
        found.append(Event("dose", frame, text, factor, factor * float(news.log_dose_std)))
    if (changed := float(news.changed)) > MOVED and not moving:
        text = f"{100 * changed:.0f} % of the field change at frame {frame}: the table or the view moves"
        found.append(Event("view", frame, text, changed))
    return found


__all__ = ["Event", "events_of"]
