"""What a run is made of: the scene, its protocol, the spec parameters, and the result of a reconstruction."""
