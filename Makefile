# SPDX-License-Identifier: Apache-2.0
#
# The front door: a thin layer over meson and ninja. `make help` lists the targets.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
PREFIX ?= /usr/local
DESTDIR ?=
ONLY ?=
FUZZ_SECONDS ?= 60
JOBS ?= $(shell nproc)

MAIN := build/main
ASAN := build/asan
TSAN := build/tsan
CLANG := build/clang
FUZZ := build/fuzz

# The tests are quiet when all is well and print the failing test's output otherwise.
define run_unit_tests
	@meson test -C $(1) --no-rebuild --suite unit --print-errorlogs >$(1)/unit-tests.log 2>&1 \
	  || { cat $(1)/unit-tests.log; exit 1; }
	@sed -n 's/^Ok: *\([0-9]*\).*/\1/p' $(1)/unit-tests.log | { read -r n; [ "$${n:-0}" -gt 0 ] || { echo "no unit test ran in $(1)"; exit 1; }; }
endef

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what is needed (Debian packages; quick when nothing is missing)
	@tools/setup

$(MAIN)/build.ninja:
	@meson setup $(MAIN) --prefix=$(PREFIX) -Dbuildtype=debugoptimized >/dev/null
$(ASAN)/build.ninja:
	@meson setup $(ASAN) -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
$(TSAN)/build.ninja:
	@meson setup $(TSAN) -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false >/dev/null
$(CLANG)/build.ninja:
	@CC=clang-14 meson setup $(CLANG) -Dbuildtype=debugoptimized >/dev/null
$(FUZZ)/build.ninja:
	@CC=clang-14 meson setup $(FUZZ) -Dbuildtype=debugoptimized -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null

.PHONY: all
all: $(MAIN)/build.ninja ## build; the programs appear in build/bin/
	@ninja --quiet -j $(JOBS) -C $(MAIN)
	@tools/collect-programs $(MAIN) build/bin

.PHONY: check
check: all ## unit tests: no root, no network, silent when fine
	$(call run_unit_tests,$(MAIN))

.PHONY: check-asan
check-asan: $(ASAN)/build.ninja ## unit tests and corpora under AddressSanitizer and UBSan
	@ninja --quiet -j $(JOBS) -C $(ASAN)
	$(call run_unit_tests,$(ASAN))

.PHONY: check-tsan
check-tsan: $(TSAN)/build.ninja ## unit tests under ThreadSanitizer
	@ninja --quiet -j $(JOBS) -C $(TSAN)
	$(call run_unit_tests,$(TSAN))

.PHONY: check-clang
check-clang: $(CLANG)/build.ninja ## build everything with clang, warnings as errors
	@ninja --quiet -j $(JOBS) -C $(CLANG)

.PHONY: fuzz
fuzz: $(FUZZ)/build.ninja ## run every fuzz target for FUZZ_SECONDS (60); ONLY=name picks one
	@ninja --quiet -j $(JOBS) -C $(FUZZ)
	@tools/fuzz $(FUZZ) $(FUZZ_SECONDS) $(ONLY)

.PHONY: e2e
e2e: all ## end-to-end tests: real programs in network namespaces (root)
	@tools/e2e $(ONLY)

.PHONY: demo
demo: setup all ## the main job, narrated, in a lab on this machine (root)
	@demo/crossing

.PHONY: interop
interop: all ## tests against peers from the package registries; ONLY=name picks one
	@tools/interop $(ONLY)

.PHONY: bench
bench: all ## measure beside the peers; ONLY=name picks one
	@tools/bench $(ONLY)

.PHONY: lint
lint: ## house rules a tool can check
	@tools/lint

.PHONY: layers
layers: ## includes point downwards only
	@tools/layers

.PHONY: test
test: setup ## set-up, and everything a fresh Debian 12 machine can run
	@tools/test

.PHONY: install
install: all ## install to $(DESTDIR)$(PREFIX)
	@meson configure $(MAIN) --prefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) meson install -C $(MAIN) --no-rebuild --quiet

.PHONY: clean
clean: ## remove everything that was built
	@rm -rf build
