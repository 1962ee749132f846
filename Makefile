# make demo shows it, make check is for every change, make test runs everything.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOLS   := bin/tools
PYTHON  ?= python3
VENV    := .cache/python
# The TypeScript packages as others import them, which most targets of TypeScript need.
TS      := $(addprefix clients/ts/packages/,verify/dist/index.js client/dist/index.js adaptive-cache/dist/index.js)

.DELETE_ON_ERROR:

# One set of build flags: with another, Go compiles every dependency again.
export GOFLAGS := $(strip $(shell go env GOFLAGS 2>/dev/null) -trimpath)
# Releases contain no C. Only the race detector and some peers need it, and ask for it themselves.
export CGO_ENABLED := 0

.PHONY: test-postgres setup test-command test-race test-without-race triage-sim demo-backfill demo-scale-out test-backfill test-scale-out portal test-portal lint-portal reference other-systems help build demo check test soak peers generate lint lint-go lint-python lint-ts test-go test-python test-ts mutants sdks quickstarts decisions conformance tools bench clean release

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

build: ## build bin/muniment and bin/conductor
	@go build -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/muniment ./cmd/conductor

demo: build ## record real evidence, gate a chart, verify everything offline (KEEP=1 leaves the server and its portal up)
	@go build -o bin/ ./internal/peers/issuer ./cmd/muniment/internal/demo && deploy/demo.sh

demo-backfill: build ## change a column of 400,000 rows under load, with evidence of each step (KEEP=1 leaves the database up)
	@deploy/demo-backfill.sh

demo-scale-out: build ## three servers on one log in PostgreSQL, one of which is killed (KEEP=1 leaves them up)
	@go build -o bin/ ./internal/peers/database && deploy/demo-scale-out.sh

check: ## what a change needs before review: format, vet, prose, short Go tests (3 min warm)
	@echo "== gofmt"; out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not formatted:"; echo "$$out"; exit 1; }
	@echo "== go vet"; go vet ./...
	@echo "== prose"; go run ./internal/textcheck
	@echo "== go test -short"; go test -short -timeout 10m $$(go list ./... | grep -vE '/cmd/muniment$$|/bench/')
	@echo "== commands"; go test -short -timeout 10m ./cmd/muniment -run 'TestScripts/(demo|admission|errors|erase|trace)$$'

test: ## install what is missing and run everything
	@.ci/lanes peers setup
	@.ci/lanes lint-go lint-ts+lint-portal+lint-python test-command test-race test-without-race test-portal test-ts test-python mutants test-backfill sdks test-scale-out decisions
	@PYTHON=$(VENV)/bin/python .ci/conformance last

# What more than one target of the tests needs, made before any of them runs.
setup: $(VENV)/ok $(TS) clients/portal/node_modules/.installed $(TOOLS)/staticcheck build

conformance: $(VENV)/ok $(TS) ## Sigstore's public cases for verifiers, which are not part of the repository (SIGSTORE_CONFORMANCE=folder)
	@PYTHON=$(VENV)/bin/python .ci/conformance

generate: clients/ts/node_modules/.installed ## write the generated code anew
	@.ci/generate; .ci/manifests

lint: lint-python lint-ts lint-portal lint-go ## formats, vet, staticcheck, prose, proto rules, generated code

lint-go: $(TOOLS)/staticcheck
	@echo "== gofmt"; out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not formatted:"; echo "$$out"; exit 1; }
	@echo "== go vet"; go vet ./...
	@echo "== types on Windows"; go run ./internal/typecheck windows/amd64 ./cmd/...
	@echo "== staticcheck"; $(TOOLS)/staticcheck ./...
	@echo "== prose"; go run ./internal/textcheck
	@echo "== buf lint, breaking"; .ci/generate lint; .ci/generate breaking
	@echo "== generated code is current"; .ci/generate check
	@echo "== go.mod is tidy"; go mod tidy -diff

SYSTEMS ?= darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

other-systems: ## build the command for systems other than Linux (SYSTEMS=…)
	@echo "== other systems"; for s in $(SYSTEMS); do \
	  GOOS=$${s%/*} GOARCH=$${s#*/} go build ./cmd/muniment/... || { echo "$$s does not build"; exit 1; }; done

test-go: test-command test-race test-without-race ## the tests of Go, with the race detector where there is concurrency

test-command: $(TOOLS)/gotestsum ## Go tests of the command, as a process
	@echo "== go test, the command"; .ci/gotest command -vet=off -timeout 55m

test-race: $(TOOLS)/gotestsum ## Go tests of packages with concurrency, under the race detector
	@echo "== go test -race"; GORACE=atexit_sleep_ms=0 .ci/gotest race -vet=off -timeout 55m

test-without-race: $(TOOLS)/gotestsum ## Go tests of the other packages
	@echo "== go test, without concurrency"; .ci/gotest without-race -vet=off -timeout 55m

test-backfill: build ## the demo of backfills with a smaller table
	@echo "== backfill"; DEMO_DIR=$$(mktemp -d)/demo ROWS=60000 deploy/demo-backfill.sh

test-scale-out: build ## the demo of several servers on one log
	@echo "== scale-out"; go build -o bin/ ./internal/peers/database; DEMO_DIR=$$(mktemp -d)/demo deploy/demo-scale-out.sh

peers: ## build the real programs that tests run beside ours (once)
	@.ci/peers

lint-python: $(VENV)/ok
	@echo "== ruff, mypy"; cd clients/python; export PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; \
	  ruff check --no-cache .; ruff format --no-cache --check .; mypy --cache-dir="$(CURDIR)/.cache/mypy"

lint-ts: $(TS)
	@echo "== eslint, prettier, tsc"; cd clients/ts; npm run --silent lint; npm run --silent types
	@echo "== every public symbol of the TypeScript packages is documented"; cd clients/ts; npm run --silent reference -- --emit none --logLevel Warn

lint-portal: clients/portal/node_modules/.installed
	@echo "== eslint, prettier, tsc of the portal"; cd clients/portal; npm run --silent lint; npm run --silent types
	@echo "== the built portal is current"; .ci/portal check

portal: clients/portal/node_modules/.installed ## build the portal's page into clients/portal/dist
	@.ci/portal build

test-portal: build clients/portal/node_modules/.installed ## the tests of the portal: its pieces, its size, and in Chromium
	@echo "== portal"; cd clients/portal; npm test --silent
	@go build -o bin/provider ./internal/peers/provider
	@echo "== portal, in the browser"; cd clients/portal; npm run --silent test:e2e; echo "the browser tests took $$SECONDS s"

reference: $(VENV)/ok $(TS) ## write the API references of the three SDKs to bin/reference
	@cd clients/ts; npm run --silent reference
	@cd clients/python; PYTHONPATH=src PYTHONDONTWRITEBYTECODE=1 $(CURDIR)/$(VENV)/bin/pdoc -o $(CURDIR)/bin/reference/python \
	  muniment muniment.bundle muniment.client muniment.configuration muniment.export muniment.report muniment.sigstore
	@mkdir -p bin/reference/go; for p in go $$(cd clients/go; ls -d */ | tr -d /); do (cd clients/go; [ $$p = go ] || cd $$p; go doc -all) >bin/reference/go/$$p.txt; done
	@ls -d bin/reference/*

test-python: $(VENV)/ok ## the tests of the Python verifier
	@echo "== python"; cd clients/python; export PATH="$(CURDIR)/$(VENV)/bin:$$PATH" PYTHONDONTWRITEBYTECODE=1; \
	  python -m pytest -q -p no:cacheprovider -n 2 --dist loadfile

$(VENV)/ok: clients/python/pyproject.toml
	@$(PYTHON) -m venv $(VENV) || { .ci/apt python3-venv && $(PYTHON) -m venv $(VENV); }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check 'cryptography>=50' 'pydantic>=2.10' 'httpx>=0.28' 'cel-python>=0.4' 'pytest>=8' 'pytest-xdist>=3.6' 'mypy>=1.11' 'ruff>=0.8' \
	  'hatchling>=1.27' 'pdoc>=15' 'matplotlib>=3.9' 'nbclient>=0.10' 'ipykernel>=6.29'
	@touch $@

test-ts: $(TS) ## the tests of the TypeScript packages
	@echo "== typescript"; cd clients/ts; npm test --silent

SEED := $(or $(SEED),$(shell date +%s))
N    ?= 2000

mutants: $(VENV)/ok $(TS) ## compare the verifiers of three languages on N mutants (SEED=…, N=2000)
	@PYTHON=$(VENV)/bin/python .ci/mutants $(SEED) $(N)

sdks: $(VENV)/ok $(TS) ## verify an export and its forgeries with the commands of three SDKs (CASES=all for all vectors)
	@PYTHON=$(VENV)/bin/python .ci/sdks $(CASES)

decisions: $(VENV)/ok ## compare the two evaluators of decisions on N random cases (SEED=…, N=2000)
	@PYTHON=$(VENV)/bin/python .ci/decisions $(SEED) $(N)

quickstarts: $(VENV)/ok clients/ts/node_modules/.installed ## run the quickstarts of the SDKs from nothing, and print how long each took
	@PYTHON=$(CURDIR)/$(VENV)/bin/python .ci/quickstarts

soak: $(TOOLS)/gotestsum $(VENV)/ok $(TS) ## the seeded campaigns in full, and admission by policy-controller and Kyverno (SEED=…)
	@echo "== campaigns of seed $(SEED) (again: make soak SEED=$(SEED))"
	@MUNIMENT_SOAK=$(SEED) .ci/gotest -count=1 -timeout 3h ./ledger ./ledger/store/... ./ledger/pebblestore ./ledger/pgstore ./ledger/receipt ./cmd/muniment ./conductor/backfill/... ./conductor/triage/execute \
	  -run 'Metamorphic|Contract|Store|Crash|Damage|Mutants|Kill|Random|Interrupted|Faults|Rolling|Wide|WritersIn'
	@echo "== the command under the race detector"; CGO_ENABLED=1 .ci/gotest -race -count=1 -timeout 3h ./cmd/muniment
	@MUNIMENT_SOAK=$(SEED) go test -count=1 -timeout 30m ./verifiers/export -run TestAgainstOracles
	@.ci/peers -soak; go test -tags soak -count=1 -timeout 30m ./cmd/muniment -run TestSoakScripts
	@cd clients/python; MUNIMENT_SOAK=$(SEED) PYTHONDONTWRITEBYTECODE=1 $(CURDIR)/$(VENV)/bin/python -m pytest -q -p no:cacheprovider -n 2 tests/test_mutation.py
	@cd clients/ts/packages/verify; MUNIMENT_SOAK=$(SEED) npx vitest run test/mutants.test.ts
	@cd clients/ts/packages/adaptive-cache; MUNIMENT_SOAK=$(SEED) npx vitest run test/histories.test.ts
	@$(MAKE) --no-print-directory mutants N=100000 SEED=$(SEED)
	@$(MAKE) --no-print-directory sdks CASES=all
	@$(MAKE) --no-print-directory decisions N=50000 SEED=$(SEED)
	@$(MAKE) --no-print-directory test-postgres
	@$(MAKE) --no-print-directory other-systems

clients/ts/node_modules/.installed: clients/ts/package.json $(wildcard clients/ts/packages/*/package.json clients/ts/samples/*/package.json) clients/ts/package-lock.json clients/ts/.npmrc
	@command -v npm >/dev/null || { echo "npm is missing: install Node 20.19 or later, https://nodejs.org"; exit 1; }
	@cd clients/ts; npm ci --silent
	@touch $@

$(TS) &: clients/ts/node_modules/.installed clients/ts/tsconfig.base.json $(wildcard clients/ts/packages/*/*.json) $(shell find clients/ts/packages/*/src)
	@cd clients/ts; npm run --silent build

clients/portal/node_modules/.installed: clients/portal/package.json clients/portal/package-lock.json clients/portal/.npmrc clients/ts/node_modules/.installed
	@cd clients/portal; npm ci --silent
	@touch $@

tools: $(TOOLS)/staticcheck ## build the linter and the test runner of Go

$(TOOLS)/staticcheck $(TOOLS)/gotestsum &: .ci/tools/go.mod
	@echo "building staticcheck and gotestsum (once)"; mkdir -p $(TOOLS); go build -C .ci/tools -o ../../$(TOOLS)/ tool; touch $(TOOLS)/*

OUT ?= dist

release: ## build a release of the current commit twice, compare, sign, record and gate it (OUT=dist VERSION=v1.2.3)
	@deploy/release/release.sh $(OUT) $(filter v%,$(VERSION))

POSTGRES ?= 14 16 17 18

# PostgreSQL 15 is the one of all other tests. The packages of the others lack extensions, ICU and XML, which some tests need.
LACKS := ^Test(Normalize|NormalizeRefuses|Order|IndexUsed|ClockSet)$$|^TestTypes$$/^xml$$
# The schemas and statements of these tests are not those of version 14.
NEWER := ^Test(RoundTrip|Finished|WithDualWrite|Random|Owner|Statements)$$

test-postgres: $(TOOLS)/gotestsum ## logs and backfills in other versions of PostgreSQL (POSTGRES="14 16 17 18")
	@for v in $(POSTGRES); do echo "== PostgreSQL $$v"; export MUNIMENT_POSTGRES=postgresql-$$v; skip='$(LACKS)'; \
	  [ $$v != 14 ] || skip="$$skip|"'$(NEWER)'; \
	  .ci/gotest -count=1 -timeout 30m -skip "$$skip" ./ledger/pgstore $$(go list ./conductor/backfill/... | grep -vE '/(measure|catalog|checking|rehearse)$$'); \
	  .ci/gotest -count=1 -timeout 30m ./cmd/muniment -run '^Test(ServerFaults|RollingUpgrade|ServerWithWrongClock)$$'; done

ROUNDS ?= 20
triage-sim: peers ## measure the time to the first action with and without triage (ROUNDS=20, a minute and a half each)
	@MUNIMENT_TRIAGE_SIM=$(ROUNDS) go test -count=1 -timeout 3h ./cmd/conductor -run '^TestTriageSimulation$$' -v

bench: ## measure, and print ratios against limits measured in the same run
	@go run ./bench

clean: ## remove what was built
	@rm -rf bin .cache demo-data demo-backfill-data
