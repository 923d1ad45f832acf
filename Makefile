# `make run` and `make test` need nothing but Python 3.11+ and make; they build .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# How many processes the tests run in: two for each core of a small machine, since tests wait a lot;
# none of their own, which would start more slowly, for the few that `-k` chooses.
JOBS ?= $(if $(findstring -k,$(ARGS)),0,4)
PYTEST = $(BIN)/pytest -n $(JOBS) --dist loadfile

.PHONY: help run test test-slow test-all fuzz faults mutate coverage lint format bench postman lock clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/run.stamp ## Serve the application on http://localhost:5000, with a MongoDB of its own
	@exec $(BIN)/multitenant run

test: $(VENV)/dev.stamp ## Run the tests that every change needs, on a real MongoDB (five minutes)
	@$(PYTEST) -m 'not slow' $(ARGS)

test-slow: $(VENV)/dev.stamp ## Run the others: gunicorn, fuzzing, Newman, a browser, killed processes (ten minutes)
	@$(PYTEST) -m slow $(ARGS)

test-all: ## Run all tests
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-slow

fuzz: $(VENV)/dev.stamp ## Send requests made up from the OpenAPI document, for FUZZ_SECONDS as each kind of user
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-300} FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-200} \
		$(BIN)/pytest -n 2 -v tests/e2e/test_fuzz.py $(ARGS)

faults: $(VENV)/dev.stamp ## Break things for longer than `make test-slow` does, FAULTS_SECONDS for each test
	@FAULTS_SECONDS=$${FAULTS_SECONDS:-300} $(PYTEST) -v tests/faults $(ARGS)

mutate: $(VENV)/mutate.stamp ## Change the code a little, many times, and see whether tests notice (see ARGS='--help')
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m tests.mutation $(ARGS)

coverage: $(VENV)/dev.stamp ## List the lines and branches that no test runs (ARGS chooses tests, as for `make test`)
	@$(BIN)/coverage erase
	-@$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(VENV)/dev.stamp ## Check style, types, and the dependencies between layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/bench.stamp ## Compare with the peers in benchmarks/ (takes two hours; needs Node.js, see ARGS='--help')
	$(BIN)/python -m benchmarks $(ARGS)

postman: $(VENV)/dev.stamp postman/node_modules ## Make the Postman collection anew from the OpenAPI document (needs Node.js)
	@$(BIN)/multitenant openapi --output $(VENV)/openapi.json
	@cd postman && node generate.mjs ../$(VENV)/openapi.json .

# What makes and runs the Postman collection, and what checks the OpenAPI document and makes clients.
%/node_modules: %/package-lock.json
	@echo "Installing Node.js packages into $@"
	@cd $* && npm ci --silent --ignore-scripts
	@touch $@

lock: $(VENV)/dev.stamp ## Renew the lock files from pyproject.toml
	$(BIN)/pip install --quiet 'uv>=0.8'
	$(BIN)/python requirements/lock.py

clean: ## Remove the virtual environment and caches (not instance/, which holds data)
	rm -rf $(VENV) mutants .coverage* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/run.stamp: requirements/run.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what is needed to run, into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/bench.stamp: requirements/bench.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what is needed to run the benchmarks, into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run.stamp

$(VENV)/mutate.stamp: requirements/mutate.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what is needed for mutation testing, into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/mutate.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/dev.stamp $(VENV)/run.stamp

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what is needed to develop and test, into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/run.stamp
