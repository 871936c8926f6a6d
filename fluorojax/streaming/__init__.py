"""Frame by frame: an estimate and its standard deviation for every frame before the next one comes.

:func:`start` and :func:`step` are the computation: a pure step of constant memory. :func:`stream` runs it over a source
of frames (an iterator, a scene, a growing file, a watched folder, standard input) and hands the results to sinks (a
file, a function, a live page in the browser).
"""

from fluorojax.streaming.clock import Clock
from fluorojax.streaming.events import Event, events_of
from fluorojax.streaming.gain import Gain
from fluorojax.streaming.learning import live_network, load_refiner, shipped_sha256
from fluorojax.streaming.network import Features, LiveNetwork, Refiner
from fluorojax.streaming.run import Result, Sink, Stream, Summary, stream
from fluorojax.streaming.server import LivePage
from fluorojax.streaming.sinks import CallbackSink, FileSink, gather_blocks
from fluorojax.streaming.sources import (
    Dropped,
    Frame,
    Stalled,
    growing_file,
    paced,
    raw_frames,
    scene_frames,
    watched_folder,
    with_timeout,
)
from fluorojax.streaming.state import News, State, late, start, step
from fluorojax.streaming.tracking import Belief, Link, Tuning

__all__ = [
    "Belief",
    "CallbackSink",
    "Clock",
    "Dropped",
    "Event",
    "Features",
    "FileSink",
    "Frame",
    "Gain",
    "Link",
    "LiveNetwork",
    "LivePage",
    "News",
    "Refiner",
    "Result",
    "Sink",
    "Stalled",
    "State",
    "Stream",
    "Summary",
    "Tuning",
    "events_of",
    "gather_blocks",
    "growing_file",
    "late",
    "live_network",
    "load_refiner",
    "paced",
    "raw_frames",
    "scene_frames",
    "shipped_sha256",
    "start",
    "step",
    "stream",
    "watched_folder",
    "with_timeout",
]
