"""Digital subtraction: registration of frames, subtraction from a mask, and the files of both."""
