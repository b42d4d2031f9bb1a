# make demo: two hypervisors on this machine, one network XML, guests that talk. make test: everything.
# Both install what is missing first: Debian packages (as root) and a virtual environment in .venv.

PYTHON := /usr/bin/python3
VENV := .venv
PYTEST := $(VENV)/bin/pytest

.PHONY: setup packages demo test test-kernel kernel-shell static lint types unit unit-walks unit-others explore functional chosen bench clean
.PHONY: test-debian12 test-debian13

setup: packages $(VENV)/.ready

packages:
	@packaging/install-packages

$(VENV)/.ready: pyproject.toml setup.py packaging/debian-packages
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(VENV)/bin/pip install --quiet --editable '.[dev]'
	touch $@

demo: setup
	@tests/lab/demo

test: setup static unit functional

# These need the processor all the time, and neither needs the other: on two processors both run at once.
static: setup
	@$(MAKE) --no-print-directory --output-sync=target -j 2 lint types

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: setup
	$(VENV)/bin/mypy

# The random walks take as long as all the others.
unit: setup
	@$(MAKE) --no-print-directory --output-sync=target -j 2 unit-walks unit-others

unit-walks: setup
	$(PYTEST) -p no:cacheprovider tests/unit/test_walk.py

unit-others: setup
	$(PYTEST) tests/unit --ignore tests/unit/test_walk.py

explore: setup
	VNETD_EXPLORE=1 $(PYTEST) tests/unit tests/functional/mesh/test_deaths.py

functional: setup
	$(PYTEST) tests/functional

# The functional tests once more, on kernels of the lab's own that have Open vSwitch's module.
test-kernel: setup
	@tests/test-kernel

kernel-shell: setup
	@tests/lab/kernel shell
chosen: setup
	$(PYTEST) $(TESTS)

# All of it, or the tests that TESTS names, in a root folder with that Debian's own Open vSwitch, libvirt, QEMU and Python.
test-debian12 test-debian13: test-debian%:
	@tests/lab/debian $* make $(if $(TESTS),chosen TESTS='$(TESTS)',test)

bench: setup
	$(PYTEST) -s tests/bench

clean:
	-[ ! -x tests/lab/lab ] || tests/lab/lab down
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
