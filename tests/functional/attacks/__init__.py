"""Hand-made frames against a strict port: what must pass, what must not, and where each may show up."""
