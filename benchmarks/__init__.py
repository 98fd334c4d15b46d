"""One program a claim: ``python -m benchmarks.NAME [--json] [--quick]``; see ``docs/benchmarks.md``."""
