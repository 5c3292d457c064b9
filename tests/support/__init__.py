"""Helpers of the demo, the benchmarks and the end-to-end tests: the lab, containers in it, clients, leftovers."""
