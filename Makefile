# The two commands a newcomer needs are `make demo` and `make test`.

CARGO ?= cargo

.PHONY: help demo test test-full lint build release clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Start a three-node cluster under one directory and show it (Ctrl-C stops it)
	@demo/run

test: ## Everything that guards a change: formatting, lints, unit tests, simulation, real clusters
	@scripts/install-deps build postgres etcd
	@scripts/test

test-full: ## The same, 20,000 simulated hours, and real clusters on PostgreSQL 13, 17 and 18
	@scripts/install-deps build postgres etcd
	@PATRONI_SIM_HOURS=$${PATRONI_SIM_HOURS:-20000} PATRONI_TEST_FULL=1 scripts/test

lint: ## Formatting, clippy and documentation, warnings as errors
	@scripts/install-deps build
	@scripts/lint

build: ## Debug binaries in target/debug
	@scripts/install-deps build
	$(CARGO) build --bins

release: ## Optimised binaries in target/release
	@scripts/install-deps build
	$(CARGO) build --release --bins

clean: ## Remove what was built
	$(CARGO) clean
