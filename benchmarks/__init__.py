"""What must stay fast, measured: `make bench`. docs/benchmarks.md holds the last figures."""
