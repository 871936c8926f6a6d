"""Side by side: fluorojax and what a user would run instead, on the same scenes, in one table.

``fluorojax benchmark`` is the command. A matrix of scenes, methods and scenarios (:mod:`~fluorojax.benchmark.matrix`)
becomes rows, each made in a process of the method (:mod:`~fluorojax.benchmark.runner`) and kept as a line of JSON
(:mod:`~fluorojax.benchmark.rows`), from which tables and figures are made.
"""
