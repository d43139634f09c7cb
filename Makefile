# Everything here works on Linux with Go, git and make; the rest is built from Go modules.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

export CGO_ENABLED := 0

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Flags of go test. -count=1: the end-to-end tests run binaries that go test's cache does not see.
# -p=4: tests in a cluster wait for most of their time, so that on two processors three such packages and one that computes run
# beside each other.
TEST_FLAGS ?= -count=1 -p=4 -timeout=30m
# What make test runs; make test PKGS=./test/e2e runs one package.
PKGS ?= ./...
# Those that take longest begin first, as everything else is over while they wait.
LONGEST := ./test/e2e ./operator ./test/integration
# Has dozens of releases by two operators at once, with deadlines that another's load would break: it runs when all others are over.
ALONE := ./test/switching

# How the CRDs are generated. Descriptions of embedded Kubernetes types are cut, or a CRD would
# grow too large for client-side kubectl apply.
CRD_OPTIONS := crd:allowDangerousTypes=true,maxDescLen=200
CRD_DIR     := charts/sluice/crds
CHARTS      := charts/sluice charts/loadtester

# Its table of what each provider can do is generated.
PROVIDER_DOCS := docs/providers.md

# The load tester is a module of its own: what hey and ghz need is nothing to the operator.
LOADTESTER := webhooks/loadtester
# Modules with code of our own, beside this one.
OWN_MODULES := $(LOADTESTER) test/bench test/dashboard $(patsubst %/,%,$(sort $(dir $(wildcard test/tools/*/*.go))))

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: build-loadtester build-cli ## Build the operator to bin/sluice, bin/kubectl-sluice and bin/sluice-loadtester
	@$(GO) build -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sluice ./operator

.PHONY: build-cli
build-cli: ## Build the command line to bin/kubectl-sluice: kubectl sluice, with bin/ in the PATH
	@$(GO) build -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/kubectl-sluice ./operator/cli/cmd

.PHONY: build-loadtester
build-loadtester:
	@cd $(LOADTESTER) && $(GO) build -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o "$(CURDIR)/bin/sluice-loadtester" ./cmd

.PHONY: servers
servers: ## Build the real servers for tests and demo to bin/ (first time about half an hour, later seconds)
	@test/tools/build servers
	@cd test/tools/traefik && GOWORK=off $(GO) mod download # the tests read its kinds

.PHONY: tools
tools: ## Build golangci-lint, controller-gen and helm to bin/
	@test/tools/build tools

.PHONY: clean
clean: ## Remove bin/
	rm -rf bin

.PHONY: generate
generate: ## Generate deepcopy code, CRDs, the base for kustomize, the tables of the charts' values and of the providers, and docs/reference
	@test/tools/build controller-gen
	@bin/controller-gen object paths=./api/...
	@bin/controller-gen $(CRD_OPTIONS) paths=./api/... output:crd:dir=$(CRD_DIR)
	@for chart in $(CHARTS); do test/tools/chart-docs $$chart; done
	@test/tools/kustomize-base
	@$(GO) run ./test/provider-docs $(PROVIDER_DOCS)
	@$(GO) run ./test/reference

.PHONY: verify
verify: ## Check that generated files, go.mod and formatting are up to date (changes nothing)
	@test/tools/build controller-gen
	@new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; mkdir "$$new/crds"; \
	for package in $(sort $(dir $(wildcard api/*/zz_generated.deepcopy.go))); do \
		bin/controller-gen object paths=./$$package output:object:dir="$$new/$$package"; \
		diff -u $${package}zz_generated.deepcopy.go "$$new/$${package}zz_generated.deepcopy.go" \
		|| { echo 'verify: generated files are out of date; run make generate' >&2; exit 1; }; \
	done; \
	bin/controller-gen $(CRD_OPTIONS) paths=./api/... output:crd:dir="$$new/crds"; \
	diff -ru $(CRD_DIR) "$$new/crds" \
	|| { echo 'verify: generated files are out of date; run make generate' >&2; exit 1; }
	@for chart in $(CHARTS); do test/tools/chart-docs -check $$chart; done
	@test/tools/kustomize-base -check
	@$(GO) run ./test/provider-docs -check $(PROVIDER_DOCS)
	@$(GO) run ./test/reference -check
	@for module in . $(LOADTESTER) test/bench test/dashboard; do \
		(cd $$module && $(GO) mod tidy -diff) || { echo "verify: go.mod or go.sum is not tidy; run go mod tidy in $$module" >&2; exit 1; }; \
	done
	@$(GO) run ./test/licences
	@$(MAKE) --no-print-directory vulncheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { printf 'verify: run gofmt -w on\n%s\n' "$$unformatted" >&2; exit 1; }

# The database is asked for by the network, so that to be without one fails nothing; it is said, and not passed over.
# VULNDB is a mirror of it, as file:///... or https://...
VULNDB ?= https://vuln.go.dev

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what the operator and the load tester call
	@case '$(VULNDB)' in file://*) [ -e "$$(sed 's|^file://||' <<<'$(VULNDB)')/index/db.json" ] ;; \
		*) curl -fsS --max-time 10 -o /dev/null '$(VULNDB)/index/db.json' 2>/dev/null ;; esac \
	|| { echo '##### NOT CHECKED for known vulnerabilities: the database $(VULNDB) is out of reach #####' >&2; exit 0; }; \
	test/tools/build govulncheck; \
	for module in . $(LOADTESTER); do \
		echo "vulncheck $$module"; (cd "$$module" && "$(CURDIR)/bin/govulncheck" -db '$(VULNDB)' ./...); \
	done

.PHONY: lint
lint: ## Lint the Go code and the charts
	@test/tools/build golangci-lint helm
	@for module in . $(OWN_MODULES); do \
		echo "lint $$module"; (cd "$$module" && "$(CURDIR)/bin/golangci-lint" run --config "$(CURDIR)/.golangci.yml" ./...); \
	done
	@$(GO) run ./test/sizes api operator providers metrics webhooks
	@bin/helm lint --strict $(CHARTS)

.PHONY: test
test: servers build ## Run all tests: unit, integration and end to end
	@if [ '$(PKGS)' != ./... ]; then \
		$(GO) test $(TEST_FLAGS) $(PKGS); \
	else \
		for module in $(LOADTESTER) test/tools/release test/tools/argocdactions; do (cd $$module && $(GO) test $(TEST_FLAGS) ./...); done & \
		modules=$$! failed=; \
		$(GO) test $(TEST_FLAGS) $(LONGEST) $$($(GO) list ./... | grep -v '$(ALONE:.%=%)$$') || failed=1; \
		wait $$modules || failed=1; \
		[ -z "$$failed" ]; \
		$(GO) test $(TEST_FLAGS) $(ALONE); \
	fi

# A package needs servers when it is under test/ or its tests import something from there, or envtest; the simulation
# is a cluster by itself.
.PHONY: test-unit
test-unit: ## Run only the tests that need no server (minutes, most of it the simulation)
	@$(GO) list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... \
	| sed 's|/sluice/test/simulation |/sluice/simulation |' \
	| grep -vE '/sluice/test|/envtest' | cut -d' ' -f1 | sed 's|/sluice/simulation$$|/sluice/test/simulation|' | xargs $(GO) test
	@cd $(LOADTESTER) && $(GO) test ./...

# How many rollouts make soak simulates, and the seed of the first.
SOAK_ROLLOUTS ?= 100000
SOAK_FIRST    ?= 1

.PHONY: soak
soak: ## Simulate SOAK_ROLLOUTS releases in which everything happens that can (100000: about an hour)
	@$(GO) test -count=1 -timeout=0 -v ./test/simulation -run TestRollouts \
		-simulation.rollouts=$(SOAK_ROLLOUTS) -simulation.first=$(SOAK_FIRST)

# How many releases make judgement simulates in each cell.
JUDGEMENT_RELEASES ?= 400
JUDGEMENT_OUT      ?= bin/judgement
.PHONY: judgement
judgement: ## Simulate how releases are judged, by the comparison and by others' rules, print the tables and draw the plots (400: about half an hour)
	@$(GO) test -count=1 -timeout=0 -v ./test/judgement -judgement.releases=$(JUDGEMENT_RELEASES) -judgement.results='$(abspath $(JUDGEMENT_OUT))'
	@cd test/bench && $(GO) run ./judgement -results '$(abspath $(JUDGEMENT_OUT))'

# How many releases of each kind make judgement-e2e has judged, in multiples of 6.
JUDGEMENT_E2E_RELEASES ?= 30
.PHONY: judgement-e2e
judgement-e2e: servers build ## Have real requests judged in the embedded cluster: good releases, worse ones and slower ones (30 of each: about a quarter of an hour)
	@$(GO) test -count=1 -timeout=0 -v ./test/e2e -run 'TestJudgement$$' -judgement.releases=$(JUDGEMENT_E2E_RELEASES)

.PHONY: disturb
disturb: ## Have something happen at every write of simulated releases of each strategy (minutes)
	@$(GO) test -count=1 -timeout=0 -v ./test/simulation -run TestDisturbedWrites -simulation.disturbances=0

# How many Canaries make bench has released, and more flags, as -interval=1m or -stages=start,idle.
BENCH_CANARIES ?= 100
BENCH_FLAGS    ?=
BENCH_OUT      ?= bin/bench-out

.PHONY: bench
bench: build ## Measure the decision core, and the operator with a fleet of BENCH_CANARIES (100: about 20 minutes)
	@test/tools/build etcd kube-apiserver kube-controller-manager pod
	@cd test/bench && $(GO) test -run XXX -bench . -benchtime 2000x .
	@cd test/bench && $(GO) build -o "$(CURDIR)/bin/bench" .
	@bin/bench -canaries $(BENCH_CANARIES) -out $(BENCH_OUT) $(BENCH_FLAGS)
	@bin/bench -out $(BENCH_OUT) -report $(BENCH_OUT)

.PHONY: test-metric-servers
test-metric-servers: ## Test metric providers against Debian's servers (apt-get install influxdb graphite-carbon graphite-web)
	@$(GO) test -count=1 -tags metricservers ./test/metricservers

.PHONY: test-dashboard
test-dashboard: ## Look at the dashboard in a headless Chromium (apt-get install chromium); seconds, skipped where there is none
	@cd test/dashboard && $(GO) test -count=1 -timeout=10m -v .

# SHOTS=FOLDER keeps pictures of what it shows.
.PHONY: test-demo
test-demo: build ## Walk through the dashboard of a running demo in a headless Chromium (apt-get install chromium); minutes
	@test/tools/build demo
	@$(GO) build -buildvcs=false -o bin/demo ./test/demo
	@cd test/dashboard && $(GO) test -count=1 -timeout=15m -v ./demo

# SERVE=1 make docs serves it, and follows what is edited.
SERVE ?=

.PHONY: docs
docs: ## Build the documentation as a site to bin/site (first time about 2 minutes, later a second; SERVE=1 serves it)
	@test/tools/build hugo
	@bin/hugo $(if $(SERVE),server) --source docs/site --destination '$(CURDIR)/bin/site' --cacheDir '$(CURDIR)/bin/.hugo' \
		--noBuildLock --cleanDestinationDir --panicOnWarning --quiet$(if $(SERVE),=false)

.PHONY: test-docs
test-docs: docs ## Test the documentation: manifests, commands, links, and the site in a headless Chromium (apt-get install chromium)
	@test/tools/build etcd kube-apiserver kube-controller-manager kubectl helm
	@cd test/tools/contour && $(GO) mod download github.com/projectcontour/contour
	@cd test/tools/knative && $(GO) mod download knative.dev/serving
	@$(GO) test -count=1 -timeout=10m ./test/docs ./test/reference
	@cd test/dashboard && $(GO) test -count=1 -timeout=10m ./site

.PHONY: test-tutorials
test-tutorials: servers build ## Type every command of the tutorials into a shell, and compare what it prints (minutes)
	@$(GO) test -count=1 -timeout=20m ./test/tutorials -tutorials

# CLUSTER=current shows it in the cluster of your kubeconfig's current context: it asks first, which YES=1 answers, and removes what it
# made; CLEAN=1 removes what one that was killed has left there.
CLUSTER ?=
YES     ?=
CLEAN   ?=

.PHONY: demo
demo: build ## Show a good and a bad release in a real cluster and mesh (KEEP=1 leaves it running, CLUSTER=current takes yours)
	@test/tools/build $(if $(CLUSTER),demo-current,demo)
	@$(GO) build -buildvcs=false -o bin/demo ./test/demo
	@exec bin/demo $(if $(CLUSTER),-cluster '$(CLUSTER)') $(if $(YES),-yes) $(if $(CLEAN),-clean)

# make release VERSION=1.2.3; PUSH=ghcr.io/sluice-delivery pushes images and charts too.
PUSH ?=

.PHONY: release
release: ## Make images, charts, checksums and notes of VERSION in dist/ (PUSH=REGISTRY pushes them)
	@test/tools/build helm
	@cd test/tools/release && $(GO) build -o "$(CURDIR)/bin/release" .
	@bin/release -version '$(VERSION:v%=%)' -out dist $(if $(PUSH),-push '$(PUSH)')
