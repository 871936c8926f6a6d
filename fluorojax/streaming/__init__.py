"""Frame by frame: an estimate and its standard deviation for every frame before the next one comes."""

from fluorojax.streaming.step import News, State, late, start, step
from fluorojax.streaming.tracking import Tuning

__all__ = ["News", "State", "Tuning", "late", "start", "step"]
