# `make run` and `make test` need nothing but Python >= 3.11, make and the package registries.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUNS   := $(VENV)/.runs
READY  := $(VENV)/.ready
INSTALL := -m pip install --quiet --disable-pip-version-check
PIP    := $(BIN)/python $(INSTALL)
PROTOS := $(wildcard proto/liquidation/v1/*.proto)
ARGS   ?=
PYTHONS = $(foreach version,12 13,$(firstword $(wildcard $(HOME)/.pyenv/versions/3.$(version).*/bin/python) python3.$(version)))
LOCKED := --universal --python-version 3.11 --generate-hashes --constraint requirements.lock --no-header --no-annotate --quiet

.DEFAULT_GOAL := help

.PHONY: help run dev test pythons lint types proto release-proto descriptor check bench bench-quick bench-memory torture failover rolling rounds oracle model fuzz soak hostile mutation interop pin audit container format clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(RUNS) ## Start the service on 127.0.0.1:50051 (more flags: ARGS="--listen ...")
	@$(BIN)/python server.py $(ARGS)

dev: $(READY) ## Install what tests, checks and benchmarks need

test: $(READY) ## Run all tests, three at a time (one after the other: ARGS="-n 0")
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

pythons: ## The pure tests on every other Python from 3.11 on that is on the PATH or pyenv's
	@for python in $(PYTHONS); do \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	    at=build/python$$version; \
	    test -x $$at/bin/python || $$python -m venv $$at; \
	    $$at/bin/python $(INSTALL) "pip>=25.1"; \
	    $$at/bin/python $(INSTALL) --constraint requirements.lock '.[cli,metrics,otel,postgres]' --group unit || exit 1; \
	    echo "Python $$version"; \
	    $$at/bin/python -m pytest -q -n 2 tests/unit --ignore tests/unit/bench || exit 1; \
	done

lint: $(READY) ## Ruff, buf lint and buf breaking
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/released.binpb
	$(BIN)/buf format --diff --exit-code --path proto/liquidation

types: $(READY) ## Strict type check
	$(BIN)/mypy

release-proto: $(READY) ## Make the API as it is what `buf breaking` guards
	$(BIN)/buf build --exclude-source-info -o proto/released.binpb

descriptor: $(READY) ## Build the descriptor set that Envoy reads
	@mkdir -p build
	$(BIN)/buf build --exclude-source-info -o build/liquidation.binpb

proto: $(READY) ## Generate liquidation/v1 from proto/ again
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. $(PROTOS)

check: lint types test pythons ## What CI runs

format: $(READY) ## Format Python and proto files
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/buf format --write --path proto/liquidation

bench: $(READY) ## Every bar and figure against its baselines (calls and claims alone: make bench-quick)
	$(BIN)/python -m bench.run --json build/bench/bars.json $(ARGS)
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.many_liquidations
	$(BIN)/python -m bench.log_stats

bench-quick: $(READY) ## The bars of CheckClaim and BeginClaim, in under two minutes
	$(BIN)/python -m bench.run --quick $(ARGS)

bench-memory: $(READY) ## Resident memory at rest, and growth over 1,000,000 calls
	$(BIN)/python -m bench.memory $(ARGS)

torture: $(READY) ## Claims while servers are killed, on both engines, and the controls
	$(BIN)/python -m tests.attacks.torture --operations 50000 --kills 100 $(ARGS)
	$(BIN)/python -m tests.attacks.torture --operations 5000 --kills 10 --drop-index
	$(BIN)/python -m tests.attacks.torture --engine postgres --sidecars 3 --workers 1 --operations 20000 --kills 60 --database-kills 10 $(ARGS)
	$(BIN)/python -m tests.attacks.torture --engine postgres --sidecars 3 --workers 2 --operations 2000 --kills 5 --database-kills 1 --drop-index

failover: $(READY) ## The primary of PostgreSQL killed under load, 10 times, and the control
	$(BIN)/python -m tests.attacks.torture.failover --rounds 10 $(ARGS)
	$(BIN)/python -m tests.attacks.torture.failover --rounds 3 --promote-after-ms 5000 $(ARGS)
	$(BIN)/python -m tests.attacks.torture.failover --rounds 1 --hold-back

rolling: $(READY) ## Workers replaced one by one under load, 20 times
	$(BIN)/python -m tests.attacks.rolling $(ARGS)

rounds: $(READY) ## 64 claims at once on one account, 1000 times
	LIQUIDATION_ROUNDS=1000 $(BIN)/python -m pytest -k 64_at_once tests/service/test_claims.py

oracle: $(READY) ## A million drawn requests through a server, against an independent evaluator
	$(BIN)/python -m tests.attacks.oracle --worlds 250 --cases 4000 $(ARGS)

model: $(READY) ## The claim protocol: every state within bounds, and the stores held against it
	$(BIN)/python -m tests.attacks.model.exhaustive
	LIQUIDATION_CASES=100 $(BIN)/python -m pytest tests/attacks/model $(ARGS)

fuzz: $(READY) ## Made-up bytes into the five places that read what strangers send, 10 minutes each
	$(BIN)/python -m tests.attacks.fuzz --seconds $(or $(SECONDS),600) $(ARGS)

soak: $(READY) ## Half an hour of mixed load with restarts: what grows
	$(BIN)/python -m tests.attacks.soak $(ARGS)

hostile: $(READY) ## Attacks by a hostile caller, one by one, and what others notice
	$(BIN)/python -m tests.attacks.hostile $(ARGS)

mutation: $(READY) ## Mutants of the rules, each to be noticed by a test
	$(BIN)/mutmut run $(ARGS)
	@mkdir -p build && $(BIN)/mutmut results | sed -n 's/^ *\(.*: survived\)$$/\1/p' | sort > build/survived.txt
	@sort tests/unit/surviving_mutants.txt | sed '/^#/d' | comm -13 - build/survived.txt | tee build/unexplained.txt
	@test ! -s build/unexplained.txt

interop: $(READY) ## Node, C++, grpcurl and buf ask everything, directly, over mTLS and through Envoy
	LIQUIDATION_INTEROP=1 $(BIN)/python -m pytest tests/attacks/interop $(ARGS)

pin: $(READY) ## Lock what the image is built of, after a change of requirements.lock
	$(PIP) --group supply
	$(BIN)/uv pip compile pyproject.toml --extra cli --extra metrics --extra otel --extra postgres $(LOCKED) --output-file deploy/requirements.txt
	$(BIN)/uv pip compile --group build $(LOCKED) --output-file deploy/build-requirements.txt
	$(BIN)/python -m tests.attacks.supply.licences

audit: $(READY) ## Ask for known weaknesses of what the image is built of; fails where it cannot ask
	$(PIP) --group supply
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement deploy/requirements.txt --requirement deploy/build-requirements.txt

container: $(READY) ## Build the image by its own steps and run it read-only; as root, on Linux
	$(BIN)/python -m tests.attacks.supply.container

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
endef

# What running needs: the service with its extras, but for charts.
$(RUNS): pyproject.toml requirements.lock
	$(environment)
	@echo "Installing what running needs into $(VENV)" >&2
	@$(PIP) --constraint requirements.lock --editable '.[cli,metrics,otel,postgres]'
	@touch $@

# Everything else too.
$(READY): pyproject.toml requirements.lock
	$(environment)
	$(PIP) "pip>=25.1"
	$(PIP) --constraint requirements.lock --editable '.[cli,report,metrics,otel,postgres]' --group dev
	@touch $(RUNS) $@
