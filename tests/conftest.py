"""Settings of every test."""

import os

# Tests neither read the compiled programs of a user nor leave theirs; tests of the cache name a folder of their own.
os.environ["FLUOROJAX_CACHE_DIR"] = "off"
