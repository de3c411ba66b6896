"""What the pool costs beside its peers: ``python -m benchmarks``, described in ``doc/benchmarks.md``."""
