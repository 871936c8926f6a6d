"""Cone-beam tomography: geometry as data, the projector, and volumes with their uncertainty from rotational runs."""
