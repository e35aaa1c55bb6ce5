# make run    a working SOC on http://127.0.0.1:8000 from nothing but Python >= 3.11
# make test   the whole suite, on embedded PostgreSQL and Redis
# make check  format, lint, types, import contracts, missing migrations
# make bench  the benchmarks, each beside its peer
# make fuzz   schemathesis against the whole product for ten minutes (SECONDS=n)
# make faults takes parts of the whole product away at random and holds it to account (ROUNDS=n SEED=n)
# make kill-playbooks  workers of playbooks killed 50 times over 100 runs: nothing stuck, skipped or doubled
# make kill-workers  workers and relays of the bus killed every second over 10,000 events: none lost, none doubled (SEED=n)
# make soak   sockets that come and go for ten minutes while others watch: nothing missed, memory flat (SECONDS=n)
# make lock   compile requirements/*.txt from pyproject.toml
# make clean  remove what the targets made; the data directory (.aurora) stays

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# uv is quick; where it does not reach the index that pip is configured for, pip does the same. Both compile to bytecode at once: every process
# of every start would do it again where PYTHONDONTWRITEBYTECODE is set, as it is in many containers.
INSTALL = $(BIN)/uv pip install -q --compile-bytecode --python $(PY) --require-hashes -r $(1) 2>/dev/null || $(PY) -m pip install -q --require-hashes -r $(1)

# Python's scripts are run through the interpreter: their first lines hold the path that this folder had when they were installed.

.PHONY: run test check bench fuzz faults kill-playbooks kill-workers soak lock clean

run: $(VENV)/.run
	@exec $(PY) manage.py up

test: $(VENV)/.dev
	@$(PY) -m pytest -n 2 --dist worksteal $(ARGS)

# Every tool runs, so that one run shows all there is to mend; what is well is silent.
check: $(VENV)/.dev
	@failed=; \
	run() { output=$$("$$@" 2>&1) || { printf '%s\n' "$$output"; failed=yes; }; }; \
	run $(BIN)/ruff format --check .; \
	run $(BIN)/ruff check .; \
	run $(PY) $(BIN)/lint-imports --no-cache --no-logo; \
	run $(PY) -m mypy .; \
	run $(PY) manage.py makemigrations --check --dry-run; \
	if [ "$$failed" ]; then echo "check: failed"; exit 1; fi; \
	echo "check: clean"

bench: $(VENV)/.dev
	@$(PY) -m benchmarks $(ARGS)

fuzz: $(VENV)/.dev
	@$(PY) -m tests.fuzzing $(or $(SECONDS),600)

faults: $(VENV)/.dev
	@$(PY) -m tests.faults.bench --rounds $(or $(ROUNDS),20) $(if $(SEED),--seed $(SEED))

kill-playbooks: $(VENV)/.dev
	@$(PY) -m tests.faults.playbook_fleet 100 50

kill-workers: $(VENV)/.dev
	@$(PY) -m tests.faults.bus_fleet 10000 $(SEED)

soak: $(VENV)/.dev
	@$(PY) -m tests.faults.socket_soak $(or $(SECONDS),600)

lock: $(VENV)/.uv
	@$(MAKE) -s -C requirements

clean:
	rm -f $(VENV)/.uv $(VENV)/.run $(VENV)/.dev
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis staticfiles benchmarks/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# No interpreter: there is no environment yet, or its Python has been removed since. All below is made anew then.
$(PY): ;

# A start that was cut short may have left an environment without pip.
$(VENV)/.uv: $(PY) requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("AuroraSOC needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.run: $(VENV)/.uv requirements/run.txt
	@echo "Installing the locked dependencies into $(VENV) ..."
	@$(call INSTALL,requirements/run.txt)
	@touch $@

$(VENV)/.dev: $(VENV)/.uv requirements/dev.txt
	@echo "Installing the locked development dependencies into $(VENV) ..."
	@$(call INSTALL,requirements/dev.txt)
	@touch $@ $(VENV)/.run
