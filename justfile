# The everyday check: under a minute once the type checker has its cache.
check: format lint types imports docs unit

format:
    ruff format --check src tests benchmarks tools

lint:
    ruff check src tests benchmarks tools

types:
    mypy

imports:
    lint-imports

docs:
    python -m tools.reference --check

unit:
    pytest -q tests/unit tests/architecture

# Every test but the long ones.
everyday:
    pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

# Everything that CI runs.
test:
    pytest -n 2 --dist loadfile --no-loadscope-reorder

# Crash loops, fuzzing and simulations at full size.
long:
    pytest -m long --full

# Rewrites docs/reference from the code.
reference:
    python -m tools.reference
