"""The inference methods, and the registry that names them."""
