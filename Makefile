# Worker Machine. `make help` lists what there is.

GO       ?= go
TOOL      = $(GO) tool -modfile=tools/go.mod
PACKAGES ?= ./...
FUZZTIME ?= 30s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check
check: lint test ## everything that has to pass before a commit

.PHONY: test
test: ## all tests; installs redis-server when there is none
	scripts/test

.PHONY: race
race: ## all tests with the race detector
	scripts/test -race

.PHONY: lint
lint: ## the linters, pinned in tools/go.mod; the first run builds them
	$(GO) vet $(PACKAGES)
	$(TOOL) golangci-lint run $(PACKAGES)

.PHONY: format
format: ## format all Go files as the linters want them
	$(TOOL) golangci-lint fmt

.PHONY: golden
golden: ## write the golden files anew, after a change of format that is meant
	UPDATE_GOLDEN=1 $(GO) test ./internal/wire/...
	UPDATE_GOLDEN=1 $(GO) test -run TestProtocol .
	UPDATE_GOLDEN=1 $(GO) test -run Documented ./metrics

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME (default 30s)
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "$$name in $$(dirname "$$file")"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

.PHONY: bench
bench: ## run every benchmark once
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 1x $(PACKAGES)
	cd bench && $(GO) test ./...

.PHONY: compare
compare: ## measure beside a bare program and other queues, and print it; about 20 minutes
	cd bench && $(GO) run .

.PHONY: compare-release
compare-release: ## benchstat of this tree against the last release, or REF; some minutes
	scripts/compare-release $(REF)

.PHONY: instructions
instructions: ## Redis instructions per task beside bench/baseline.json, within 2 %; three minutes; needs valgrind
	cd bench && $(GO) run . -rows instructions -only floor,ours -rounds 3 -against baseline.json

.PHONY: performance
performance: ## measure everything, and write docs/performance.md; goes on where it was stopped, unless something was committed since
	cd bench && $(GO) run . -rows all -slow -tops $(TOPS) -growth all -json ../docs/performance.json -resume
	cd bench && $(GO) run . -report ../docs/performance.json -against baseline.json

.PHONY: mapreduce-figures
mapreduce-figures: ## measure map/reduce jobs, and write docs/mapreduce.md; some minutes
	cd bench && $(GO) run . jobs -docs ../docs

TOPS ?= run100,callers,batches,map

.PHONY: screenshots
screenshots: ## take the screenshots of the dashboard in docs anew; needs Chromium
	WM_SCREENSHOTS=../../../docs $(GO) test -count=1 -run TestScreenshots ./web/internal/board

.PHONY: integration
integration: images ## the tests with several processes and real servers in containers, in full words
	scripts/test -count=1 -v ./integration/...

.PHONY: image
image: ## the program as a container image, worker-machine
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -buildid=' -o deploy/worker-machine ./cmd/worker-machine
	docker build --tag worker-machine deploy

.PHONY: reproducible
reproducible: ## build the release twice and compare the bytes
	scripts/reproducible

.PHONY: images
images: ## make the Docker images of Redis and Valkey that the tests want
	scripts/images
