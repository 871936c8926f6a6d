"""What a screen shows: window and level, enhancement within the noise, overlays of contrast agent, movies.

:func:`display_file` does all of it for a file. :func:`read_pictures` and :func:`show` do it in a notebook, and the
functions below are its steps.
"""

from fluorojax.display.compose import DisplayOptions, Shown, display_file, show
from fluorojax.display.enhancement import DetailFilter, Enhanced, Enhancement, design, enhance
from fluorojax.display.export import check_pictures, write_pictures
from fluorojax.display.filters import Smoother
from fluorojax.display.overlays import Overlay, blend, dsa_overlay, read_overlay, road_map_overlay
from fluorojax.display.pictures import Pictures, What, read_pictures, scene_names
from fluorojax.display.screen import Pane, arrange
from fluorojax.display.windows import dicom_window, grey_levels, level_window, percentile_window

__all__ = [
    "DetailFilter",
    "DisplayOptions",
    "Enhanced",
    "Enhancement",
    "Overlay",
    "Pane",
    "Pictures",
    "Shown",
    "Smoother",
    "What",
    "arrange",
    "blend",
    "check_pictures",
    "design",
    "dicom_window",
    "display_file",
    "dsa_overlay",
    "enhance",
    "grey_levels",
    "level_window",
    "percentile_window",
    "read_overlay",
    "read_pictures",
    "road_map_overlay",
    "scene_names",
    "show",
    "write_pictures",
]
