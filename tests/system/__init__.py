"""The packages on a booted Debian 12. `make system-test` runs what stands in `scenario_*.py`; see docs/system-test.md."""
