"""Knowledge-graph embedding by contrast, on the kernels and evaluators of :mod:`graphcl`."""

__all__: list[str] = []
