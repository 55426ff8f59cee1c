# On a fresh machine `make demo` and `make test` do all the set-up themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPER := $(VENV)/.developer

.PHONY: demo test test-slow test-docker fuzz test-wheel chaos lint mypy basedpyright audit format bench bench-effect bench-sft bench-load bench-scale bench-store bench-two-passes docs screenshots vendor settings clean

# Bytecode is written by the first run, of what it imports, whatever the environment says: see below.
demo: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= $(BIN)/congrad demo

# Side by side, those that share a stack in one process: many wait for something, so three for two cores. Then those
# that say how long something takes, alone; to collect all others for them takes longer than they do. Bytecode is written
# whatever the environment says, for tests start hundreds of processes.
PROCESSES ?= 3
TIMED = $(shell grep -rl '^@pytest.mark.timing' tests)

test: export PYTHONDONTWRITEBYTECODE =
test: $(DEVELOPER)
	$(BIN)/pytest -m "not slow and not docker and not timing" -n $(PROCESSES) --dist loadgroup --durations 15
	$(BIN)/pytest -m "timing and not slow and not docker" $(TIMED)

# What takes long: on demand, and each night (`.github/workflows/nightly.yml`).
test-slow: export PYTHONDONTWRITEBYTECODE =
test-slow: $(DEVELOPER)
	$(BIN)/pytest -m slow --timeout=1800

# Builds the images and runs the stack of docker-compose.yml, where `docker info` finds an engine.
test-docker: $(DEVELOPER)
	$(BIN)/pytest -m docker -s tests/docker

# Kills the parts of a stack under load for some minutes; SEED decides which, and when.
MINUTES ?= 10
SEED ?= 0

chaos: $(DEVELOPER)
	PYTHONPATH=tests $(BIN)/python -m chaos --minutes $(MINUTES) --seed $(SEED)

# Other examples than those of `make test`, from seeds that are printed, for so many minutes.
fuzz: $(DEVELOPER)
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# The pictures of the dashboard and of a report, from the tests that look at them.
screenshots: $(DEVELOPER)
	SCREENSHOTS=docs/screenshots $(BIN)/pytest tests/e2e/test_dashboard.py tests/e2e/test_report.py -k taken

# The browser libraries that are shipped, from npm, at pinned versions.
vendor: $(DEVELOPER)
	$(BIN)/python scripts/vendor.py

# The tables of settings in docs/operations.md, from the classes that read them.
settings: $(DEVELOPER)
	$(BIN)/python scripts/settings_table.py

# The wheel as a user gets it: built, installed into an environment of its own, and run.
test-wheel:
	rm -rf build/wheel && mkdir -p build/wheel
	$(PYTHON) -m pip wheel --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install -q -c constraints.txt "$$(ls build/wheel/congrad_filter-*.whl)[all]"
	cd build/wheel && venv/bin/congrad demo

# The type checkers beside each other: they take minutes of a core, and all else seconds.
lint: $(DEVELOPER)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(MAKE) --jobs 2 --output-sync mypy basedpyright

mypy: $(DEVELOPER)
	$(BIN)/mypy

basedpyright: $(DEVELOPER)
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# Known vulnerabilities of what is pinned. It needs pypi.org, and is no part of CI.
audit: $(DEVELOPER)
	$(BIN)/pip install -q pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt --index-url https://pypi.org/simple

format: $(DEVELOPER)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEVELOPER)
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/engine.py --with-bergson
	$(BIN)/python benchmarks/fidelity.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/client.py

bench-effect: $(DEVELOPER)
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/effect.py

bench-sft: $(DEVELOPER)
	$(BIN)/python benchmarks/sft.py

bench-load: $(DEVELOPER)
	$(BIN)/python benchmarks/load.py

bench-scale: $(DEVELOPER)
	$(BIN)/python benchmarks/scale.py

bench-store: $(DEVELOPER)
	$(BIN)/python benchmarks/gradient_store.py

bench-two-passes: $(DEVELOPER)
	$(BIN)/python benchmarks/two_passes.py

docs: $(DEVELOPER)
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

# What the demo needs. pip, because the other installers resolve torch without looking at its build for this machine; a
# new one, because that of an older Python takes twice as long to resolve. Nothing is compiled here: of 11,000 modules
# the demo imports a third.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt --upgrade pip
	$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[all]'
	touch $@

# What its developers need on top, and the bytecode of everything, since tests start many processes. Some packages hold
# files that are no Python of this version: the compiler's status says so each time.
$(DEVELOPER): $(INSTALLED)
	$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

clean:
	rm -rf $(VENV) build dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
