# The whole of godwit by five words. Each target installs what it needs first (Debian packages, and a CRIU that works
# on the running kernel) and builds; when that is done already, it costs well under a second.

.DEFAULT_GOAL := help
.PHONY: help build demo test bench bench-vm bench-two-vms lint lab-up lab-down clean

help:
	@echo 'make build     compile godwit, godwitd and what belongs to them (build/default/bin)'
	@echo 'make demo      move a Redis server between two hosts made on this machine, and back'
	@echo 'make test      all checks and tests'
	@echo 'make bench     godwit and others, measured here: a hundred minutes, goes on after ^C (BENCH=--quick: ten minutes)'
	@echo 'make bench-vm  what this kernel cannot do, in an emulated machine with another; goes into the report of bench'
	@echo 'make bench-two-vms  the same in two such machines, with a host in each'
	@echo 'make lab-up    two hosts on this machine, to try godwit by hand (see tools/lab help)'
	@echo 'make lab-down  take them away'
	@echo 'make clean     remove build/'
	@echo
	@echo 'All but clean and help install Debian packages where some are missing, and need root.'

# Ninja configures again by itself when a CMakeLists.txt has changed, but not for the presets. The tests of single files
# are half of the work, and only `test` wants them.
define compile
	@[ build/default/build.ninja -nt CMakePresets.json ] || cmake --preset default
	@cmake --build --preset default --target $(1)
endef

build:
	@tools/bootstrap build run
	$(call compile,programs)

demo: build
	@tools/demo

test:
	@tools/bootstrap build run test
	$(call compile,all)
	@tools/test

lint: build
	@tools/lint

bench:
	@tools/bootstrap build run bench
	$(call compile,programs)
	@bench/evaluate --resume $(BENCH)

bench-vm:
	@tools/bootstrap build run bench vm
	$(call compile,programs)
	@bench/evaluate --vm bookworm --resume $(BENCH)

bench-two-vms:
	@tools/bootstrap build run bench vm
	$(call compile,programs)
	@bench/evaluate --two-vms bookworm --resume $(BENCH)

lab-up: build
	@tools/lab up

lab-down:
	@tools/lab down

clean:
	@rm -rf build
