# hamkor: `make demo` shows it at work, `make test` runs the tests. Both make .venv first; nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
FUZZ := $(VENV)/.fuzz
JOBS ?= 2
SEEDS ?= 2000
NODES ?= 12

help:
	@echo 'make demo    eleven nodes on this machine play a case; ARGS="--json" or ARGS="--keep DIR"'
	@echo 'make test    all tests'
	@echo 'make check   lint, types and the quick tests'
	@echo 'make sim     the simulator over SEEDS=2000 of NODES=12; ARGS="--minutes 60"'
	@echo 'make fuzz    every decoder under atheris, five minutes in all; SECONDS=3600 each, TARGET=frame, JOBS=2'
	@echo 'make agree   the three verifiers of proofs judge COUNT=10000 cases from SEED=1, valid and damaged'
	@echo 'make soak    real nodes, kills, cuts and crimes; SECONDS=300, ARGS="--seed 7 --nodes 8 --no-netem"'
	@echo 'make audit   a sound ledger of 100,000 entries gives no fault; what an audit costs; ARGS="--entries 10000"'
	@echo 'make bench   what it costs, beside what the machine allows and others reach; ARGS="--only sync --size 10000"'
	@echo 'make interop  a second implementation, in Node.js, beside this one; COUNT=300 random ledgers'
	@echo 'make words   extract messages, compile the translations, name what is missing'
	@echo 'make lock    make the lock files again (needs uv)'
	@echo 'make clean   remove what was made'

venv: $(READY)

$(READY): requirements-build.lock requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --no-build-isolation -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	rm -rf $(VENV)/lib/python3*/site-packages/trio-stubs  # comes with libp2p, and would hide trio's own types
	touch $@

demo: venv
	@$(BIN)/hamkor demo $(ARGS)

test: venv
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(ARGS)

quick: venv
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not live and not crash and not sim and not interop and not fuzz" $(ARGS)

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

check: lint types quick

sim: venv
	@$(BIN)/hamkor sim --seeds $(SEEDS) --nodes $(NODES) $(ARGS)

fuzz: $(FUZZ)
	$(BIN)/python -m tests.fuzz --jobs $(JOBS) $(addprefix --seconds ,$(SECONDS)) $(addprefix --target ,$(TARGET)) $(ARGS)

$(FUZZ): $(READY) requirements-fuzz.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-fuzz.lock
	touch $@

agree: venv npm
	@$(BIN)/python -m tests.proofs --count $(or $(COUNT),10000) --seed $(or $(SEED),1) $(ARGS)

audit: venv
	$(BIN)/python -m pytest -q -m slow tests/unit/test_audit_large.py
	$(BIN)/python -m tests.bench.auditing $(ARGS)

soak: venv
	$(BIN)/python -m tests.soak --seconds $(or $(SECONDS),300) $(ARGS)

bench: venv
	$(BIN)/python -m tests.bench $(ARGS)

interop: venv npm
	COUNT=$(or $(COUNT),300) $(BIN)/python -m pytest -q -m interop tests/interop $(ARGS)

npm:  # the msgpack decoder of tests/interop, once, where node is and the registry can be reached
	@test -d tests/interop/node_modules || ! command -v npm >/dev/null || \
	  npm ci --prefix tests/interop --silent --no-audit --no-fund || echo 'npm ci failed: what needs Node.js is skipped'

words: venv
	$(BIN)/python -m tests.catalogues

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --override overrides.in requirements.in | $(PYTHON) tests/split_lock.py
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  requirements-fuzz.in -o requirements-fuzz.lock

clean:
	rm -rf tests/interop/node_modules $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help venv demo test quick lint types check sim fuzz agree audit soak bench interop npm words lock clean
