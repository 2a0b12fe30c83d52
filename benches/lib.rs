//! Benchmarks of the cores; `docs/benchmarks.md` says how to run them.
