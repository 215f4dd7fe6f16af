# The one door to TaskHub. Paths are relative throughout: make knows no way to write a space in an absolute one.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
PYTHON_3_11 = $(shell for each in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14 python; do \
	"$$each" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done)

.PHONY: help run demo test chaos bench containers lint format tools protos openapi lock clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: .venv/.run ## Start everything: PostgreSQL, Redis, mailbox, Envoy, API, worker (Ctrl-C stops it)
	@$(BIN)/python -m devstack

demo: .venv/.run ## Show what TaskHub promises, on a stack of its own
	@$(BIN)/python -m devstack.demo

test: ## Run every check and every test, as CI does
	@$(MAKE) --no-print-directory -j 3 lint tools
	@echo "pytest" && PATH="$$PWD/.cache/bin:$$PATH" $(BIN)/python -m pytest -n 3 --dist loadfile --ignore tests/chaos
	@echo "chaos, short forms" && $(BIN)/python -m pytest --durations 0 --durations-min 1 tests/chaos

containers: .venv/.dev .cache/bin/grpcurl ## Build the images, run docker-compose.yml and try its promises (needs Docker)
	@TASKHUB_TEST_CONTAINERS=1 PATH="$$PWD/.cache/bin:$$PATH" $(BIN)/python -m pytest tests/containers

chaos: .venv/.dev $(if $(findstring P,$(ONLY)),.cache/bench-celery/.installed) ## Kill everything under load and compare every row (ONLY=F1,MIX SEED=7 APART=0.2,2 LENGTH=120)
	@exec $(BIN)/python -m tests.chaos $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) $(if $(APART),--apart $(APART)) \
		$(if $(LENGTH),--length $(LENGTH)) $(if $(FAULTS),--faults $(FAULTS))

lint: .venv/.dev ## Check style, types, imports, that the stubs are fresh and the migrations one chain
	@echo "ruff" && $(BIN)/ruff check && $(BIN)/ruff format --check
	@echo "mypy" && $(BIN)/python -m mypy .
	@echo "lint-imports" && $(BIN)/lint-imports
	@echo "stubs" && rm -rf .cache/stubs && $(BIN)/python protos/generate.py .cache/stubs .cache/image.binpb
	@diff -r -x '*.proto' -x generate.py -x __pycache__ protos .cache/stubs \
		|| { echo 'taskhub: the stubs are older than the .proto files: run `make protos`' >&2; exit 1; }
	@echo "access" && $(BIN)/python -m docs.generate .cache/access.md && diff docs/access.md .cache/access.md \
		|| { echo 'taskhub: docs/access.md is older than the .proto files: run `make protos`' >&2; exit 1; }
	@echo "migrations" && TASKHUB_DATABASE_URL=postgresql://nobody@127.0.0.1:1/nowhere \
		$(BIN)/python -W error::UserWarning -m migrations sql >/dev/null # fails unless they are one chain
	@echo "buf lint" && $(BIN)/buf lint .cache/image.binpb

bench: .venv/.bench .cache/bench-celery/.installed ## Measure against the goals of speed, for some minutes (ONLY=S1,S5: these rows)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

format: .venv/.dev ## Lay out the code and mend what can be mended
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

protos: .venv/.dev ## Write the Python stubs of the .proto files and the table of their access rules anew
	@$(BIN)/python protos/generate.py
	@$(BIN)/python -m docs.generate

openapi: .venv/.dev .cache/bin/protoc-gen-connect-openapi ## Write docs/openapi.yaml anew (needs Go, for its generator)
	@$(BIN)/python -m deploy.gateway.openapi

UV := .cache/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate pyproject.toml

lock: .cache/uv/bin/uv ## Pin what pyproject.toml asks for, with hashes (UPGRADE=--upgrade: the newest versions)
	$(UV) $(UPGRADE) --all-extras --output-file requirements-dev.lock
	$(UV) --constraint requirements-dev.lock --extra api --extra worker --extra devstack --output-file requirements.lock
	$(UV) --constraint requirements-dev.lock --extra api --output-file requirements-api.lock
	$(UV) --constraint requirements-dev.lock --extra worker --output-file requirements-worker.lock
	$(UV:pyproject.toml=bench/requirements.in) $(UPGRADE) --output-file bench/requirements.lock
	$(UV:pyproject.toml=bench/peers/requirements.in) $(UPGRADE) --output-file bench/peers/requirements.lock

clean: ## Remove what was installed and generated; the data in .taskhub stays
	rm -rf .venv .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# A stamp for each lock: written last, so that an interrupted installation goes on at the next run. (exec: a signal to
# make reaches the installer, not a shell that leaves it behind.)
.venv/.run: requirements.lock pyproject.toml
	@$(call install,requirements.lock)
	@touch $@

.venv/.dev: requirements-dev.lock pyproject.toml
	@$(call install,requirements-dev.lock)
	@touch $@ .venv/.run

.venv/.bench: bench/requirements.lock | .venv/.run
	@echo "installing what the load generator needs"
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps --requirement $<
	@touch $@

.cache/bench-celery/.installed: bench/peers/requirements.lock
	@echo "installing plain Celery, to measure against, into .cache/bench-celery: $$(grep -c == $<) packages"
	@"$(PYTHON_3_11)" -m venv .cache/bench-celery
	@.cache/bench-celery/bin/python -m pip install --quiet --require-hashes --no-deps --requirement $<
	@touch $@

install = test -n "$(PYTHON_3_11)" || { echo "taskhub: needs Python 3.11 or newer with venv (on Debian: apt install \
python3.11-venv); name one with make PYTHON=/path/to/python3" >&2; exit 1; }; exec "$(PYTHON_3_11)" -I devstack/install.py $(1)

.cache/uv/bin/uv:
	@echo "installing uv into .cache/uv"
	@"$(PYTHON_3_11)" -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet uv

tools: .cache/bin/grpcurl .cache/bin/protoc-gen-connect-openapi

# The tests call the API with grpcurl where Go is at hand to build it, else with `buf curl`, which comes as a wheel.
.cache/bin/grpcurl:
	@if command -v go >/dev/null; then \
		echo "building grpcurl (once)"; \
		GOBIN="$$PWD/.cache/bin" GOFLAGS= go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 \
			|| echo "taskhub: grpcurl could not be built; the tests use buf curl"; \
	fi

# Go may be missing: then the document is not compared with the .proto files, and everything else still is.
.cache/bin/protoc-gen-connect-openapi: deploy/gateway/openapi/go.mod deploy/gateway/openapi/go.sum
	@if command -v go >/dev/null; then \
		echo "building the OpenAPI generator (once)"; \
		go build -C deploy/gateway/openapi -mod=readonly -o "$$PWD/$@" github.com/sudorandom/protoc-gen-connect-openapi \
			|| echo "taskhub: the generator could not be built; docs/openapi.yaml is not compared"; \
	fi
