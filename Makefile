# All set-up, checks and tests. Whatever is fetched or built goes to REGSEAL_CACHE, outside the checkout.

REGSEAL_CACHE ?= $(HOME)/.cache/regseal
TOOLS := $(REGSEAL_CACHE)/tools
VENV := $(REGSEAL_CACHE)/venv

# One target directory and one profile (dev) for tests, demo, conformance and benchmark smoke: nothing is built twice.
export CARGO_TARGET_DIR ?= $(REGSEAL_CACHE)/target
export CARGO_INCREMENTAL := 0
export REGSEAL_TOOLS := $(TOOLS)
export REGSEAL := $(CARGO_TARGET_DIR)/debug/regseal
export PATH := $(TOOLS):$(VENV)/bin:$(HOME)/.cargo/bin:$(PATH):/usr/sbin

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# command:package
DEBIAN := buildah:buildah curl:curl dockerd:docker.io docker-registry:docker-registry haproxy:haproxy jq:jq \
	podman:podman promtool:prometheus ps:procps redis-server:redis-server shellcheck:shellcheck skopeo:skopeo

# Each test tool is a module of its own; the built file carries the pinned version, so a changed pin builds anew.
version = $(shell awk '$$1 == "require" && NF == 3 { print $$3 }' tests/tools/$1/go.mod)
GO_TOOLS := $(patsubst tests/tools/%/go.mod,%,$(wildcard tests/tools/*/go.mod))
GO_BINARIES := $(foreach tool,$(GO_TOOLS),$(TOOLS)/$(tool)@$(call version,$(tool)))

STEPS := tools lint nextest fuzz-smoke conformance bench-smoke demo

.PHONY: help build tools debian wheels fmt lint nextest soak fuzz-smoke fuzz conformance bench-smoke bench demo test clean
.NOTPARALLEL:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

build: ## compile regseal, as the tests have it: without them, some dependencies have other features and are built twice
	cargo build --locked --bin regseal --test it

tools: debian wheels $(GO_BINARIES) ## install everything that the tests and the demo need
	@$(foreach binary,$(GO_BINARIES),ln -sfn $(binary) $(firstword $(subst @, ,$(binary)));)

debian:
	@tests/tools/debian.sh $(DEBIAN)

wheels: debian
	@cmp -s tests/tools/requirements.txt $(VENV)/requirements.txt || { set -x; rm -rf $(VENV); python3 -m venv $(VENV); \
		$(VENV)/bin/pip install --quiet --no-deps -r tests/tools/requirements.txt; cp tests/tools/requirements.txt $(VENV)/; }

$(GO_BINARIES):
	@mkdir -p $(TOOLS)
	cd tests/tools/$(firstword $(subst @, ,$(@F))) && go build -mod=readonly -trimpath -o $@.new tool
	@mv $@.new $@

fmt: wheels ## format Rust and TOML
	cargo fmt
	taplo fmt

lint: debian wheels ## check format, spelling, dependencies, clippy, documentation, shell
	cargo fmt --check
	RUST_LOG=warn taplo fmt --check
	typos
	cargo deny check bans licenses sources
	cargo shear
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	shellcheck -x .ci/run $$(git ls-files '*.sh')

nextest: tools ## run the unit and integration tests (filter with ARGS=...)
	INSTA_UPDATE=no cargo nextest run --locked $(if $(CI),--profile ci) $(ARGS)
	REGSEAL_TEST_STORES=s3+redis INSTA_UPDATE=no cargo nextest run --locked --profile stores $(ARGS)

soak: tools ## run the same tests, the repeated ones for much longer (a seed is repeated with REGSEAL_SEED=...)
	REGSEAL_SOAK=1 INSTA_UPDATE=no cargo nextest run --locked --profile soak $(ARGS)

fuzz-smoke: ## run each fuzz target for a moment, from its seeds, and always the same
	tests/fuzz/run.sh runs=5000

fuzz: ## run the fuzz targets for long, or those of ARGS=..., and keep what they learn
	REGSEAL_FUZZ_CORPUS=$(REGSEAL_CACHE)/fuzz tests/fuzz/run.sh max_total_time=$(or $(FUZZ_SECONDS),600) $(ARGS)

conformance: tools build ## run the OCI conformance suite on a bare registry and through regseal
	tests/conformance/run.sh

bench-smoke: ## run each benchmark once
	cargo test --locked --bench '*'

bench: ## measure
	cargo bench --locked --bench '*' $(ARGS)

demo: tools build ## push, sign, list and verify with the real programs
	@tests/demo/demo.sh

test: ## run everything that a change must pass
	@for step in $(STEPS); do \
		started=$$SECONDS; echo "=== $$step"; $(MAKE) $$step; echo "=== $$step: $$((SECONDS - started)) s"; \
	done

clean: ## remove what was built here (tools stay)
	cargo clean
