"""A procedural fluoroscopy simulator in NumPy: moving, transparent layers and a stepped imaging chain.

It shares no discretisation with the inference operator, so that the truth can differ from the model.
"""

from fluorojax.simulation.anatomy import Anatomy as Anatomy
from fluorojax.simulation.anatomy import HeartShape as HeartShape
from fluorojax.simulation.ct import project_volume as project_volume
from fluorojax.simulation.ct import read_volume as read_volume
from fluorojax.simulation.options import SimulationOptions as SimulationOptions
from fluorojax.simulation.phantom import Phantom as Phantom
from fluorojax.simulation.replay import scene_layers as scene_layers
from fluorojax.simulation.replay import scene_masks as scene_masks
from fluorojax.simulation.scene import build_phantom as build_phantom
from fluorojax.simulation.scene import device_masks as device_masks
from fluorojax.simulation.scene import frame_times as frame_times
from fluorojax.simulation.scene import render_layers as render_layers
from fluorojax.simulation.scene import simulate_scene as simulate_scene
from fluorojax.simulation.scene import simulate_scenes as simulate_scenes
from fluorojax.simulation.thorax import draw_thorax as draw_thorax
