"""The data of a run: the scene, its protocol, the spec parameters, and the result of a reconstruction."""
