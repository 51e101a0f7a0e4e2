# Everything a person or CI does here. Each target does its own set-up.

PYTHON ?= python3
DEBIAN_PYTHON ?= /usr/bin/python3
ARGS ?=
BUILD := build
VENV := $(BUILD)/venv
BIN := $(VENV)/bin
DEBIAN_VENV := $(BUILD)/debian-venv
MERCURIAL := $(BUILD)/mercurial
# Tests run in as many processes as there are processors; WORKERS=0 runs them in one, as a debugger and `-s` need it.
WORKERS ?= $(shell nproc)
PYTEST := -m pytest --numprocesses=$(WORKERS) --maxprocesses=8
DEBIAN_PACKAGES := python3-venv python3-twisted python3-attr python3-cbor2 python3-openssl python3-service-identity \
	python3-psutil python3-click python3-rich python3-zstandard python3-pytest python3-pytest-xdist python3-hypothesis python3-setuptools python3-wheel

.PHONY: run test test-debian lint bench fuzz fuzz-guided reliability conformance deb system-test docs clean
.DELETE_ON_ERROR:

run: $(VENV)/ready-to-run
	@$(BIN)/fieldpost demo $(ARGS)

test: $(VENV)/ready-to-test $(MERCURIAL)/ready
	$(BIN)/python $(PYTEST) $(ARGS)

# The same tests on the oldest dependencies that we support: Debian 12's own packages.
test-debian: $(DEBIAN_VENV)/ready
	$(DEBIAN_VENV)/bin/python $(PYTEST) $(ARGS)

lint: $(VENV)/ready-to-lint $(BUILD)/types/fieldpost
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready-to-run
	@$(BIN)/python benchmarks/run.py $(ARGS)

# The same properties as in `make test`, with many more random cases; then what a peer can send, under a coverage-guided fuzzer
# for FUZZ_SECONDS each. What that finds is left in build/fuzz.
FUZZ_SECONDS ?= 30
FUZZ_TARGETS ?= $(shell sed -n 's/^def \([a-z]\+[a-z_]*\)(octets: bytes).*/\1/p' tests/fuzz/targets.py)
FUZZ_VENV := $(BUILD)/fuzz-venv

fuzz: $(VENV)/ready-to-test fuzz-guided
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/wire tests/fuzz $(ARGS)

fuzz-guided: $(FUZZ_VENV)/ready $(BUILD)/types/fieldpost
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p $(BUILD)/fuzz/$$target && echo "fuzzing $$target for $(FUZZ_SECONDS) s" && \
		PYTHONPATH=$(BUILD)/types:. $(FUZZ_VENV)/bin/python -m tests.fuzz.run $$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
			-rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/$$target- $(BUILD)/fuzz/$$target || exit 1; \
	done

# The simulations and crash tests of the promise, with many more random cases.
reliability: $(VENV)/ready-to-test
	HYPOTHESIS_PROFILE=reliability $(BIN)/python -m pytest tests/broker tests/server tests/plugins tests/carriers $(ARGS)

# The numbered statements of the session, each with its outcome and its tests; one without a test counts as failed.
conformance: $(VENV)/ready-to-test $(MERCURIAL)/ready
	$(BIN)/python -m pytest -p tests.conformance -m conformance --quiet --no-header $(ARGS)

# Debian packages in build/debian, from what is committed, with Debian's own Python and nothing of its users. They are built
# once more under another umask and time zone: the same octets must come out.
DEBIAN_PATH := PATH=/usr/sbin:/usr/bin:/sbin:/bin

deb:
	@command -v dpkg-buildpackage lintian >/dev/null || { echo "make deb needs Debian's tools: apt install dpkg-dev lintian, and apt build-dep ./" >&2; exit 1; }
	rm -rf $(BUILD)/debian && mkdir -p $(BUILD)/debian/source $(BUILD)/debian/again/source
	git archive HEAD | tar --extract --directory $(BUILD)/debian/source
	git archive HEAD | tar --extract --directory $(BUILD)/debian/again/source
	cd $(BUILD)/debian/source && $(DEBIAN_PATH) dpkg-buildpackage -us -uc -b
	cd $(BUILD)/debian/again/source && umask 002 && $(DEBIAN_PATH) TZ=Asia/Tokyo DEB_BUILD_OPTIONS=nocheck dpkg-buildpackage -us -uc -b >../log 2>&1
	cd $(BUILD)/debian && sha256sum *.deb | (cd again && sha256sum --check)
	cd $(BUILD)/debian && $(DEBIAN_PATH) lintian --pedantic --fail-on error,warning *.changes

# The packages on a Debian that boots. It says itself what it needs.
system-test: $(VENV)/ready-to-test $(MERCURIAL)/ready
	$(BIN)/python -m pytest -p no:cacheprovider -o python_files='scenario_*.py' --tb=short $(or $(ARGS),tests/system)

# The documentation is Markdown; what it names must exist, and what exists must be named.
docs: $(VENV)/ready-to-test
	$(BIN)/python -m pytest tests/test_docs.py $(ARGS)

clean:
	rm -rf $(BUILD) dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Fieldpost needs Python 3.11 or newer; there is no $(PYTHON). Install it, or name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fieldpost needs Python 3.11 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`. Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Fieldpost needs Python's venv module; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "making a virtual environment in $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV) >&2

define INSTALL
@echo "installing into $(VENV)" >&2
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(1)' >&2 || { echo "pip could not install Fieldpost's dependencies; its words are above" >&2; exit 1; }
@touch $@
endef

$(VENV)/ready-to-run: $(VENV)/bin/python setup.cfg setup.py
	$(call INSTALL)

$(VENV)/ready-to-test: $(VENV)/ready-to-run
	$(call INSTALL,[test])

$(VENV)/ready-to-lint: $(VENV)/ready-to-test
	$(call INSTALL,[test$(comma)lint])

comma := ,

# Mercurial is the other end in tests of the session's frames: in an environment of its own, for its licence is another.
$(MERCURIAL)/ready: $(VENV)/bin/python
	@$(PYTHON) -m venv $(MERCURIAL) >&2
	@$(MERCURIAL)/bin/python -m pip install --quiet --disable-pip-version-check 'mercurial >= 7.1, < 8' >&2
	@touch $@

$(FUZZ_VENV)/ready: $(VENV)/bin/python
	@$(PYTHON) -m venv $(FUZZ_VENV) >&2
	@$(FUZZ_VENV)/bin/python -m pip install --quiet --disable-pip-version-check atheris attrs cbor2 zstandard >&2 \
		|| { echo "make fuzz needs atheris, which may not be there for this Python yet; name another: make fuzz PYTHON=python3.12" >&2; exit 1; }
	@touch $@

$(DEBIAN_VENV)/ready: setup.cfg setup.py
	@$(DEBIAN_PYTHON) -c 'import venv, ensurepip, setuptools, twisted, attr, cbor2, OpenSSL, service_identity, psutil, click, rich, zstandard, pytest, xdist, hypothesis' \
		|| { echo "make test-debian needs Debian's packages: apt install $(DEBIAN_PACKAGES)" >&2; exit 1; }
	@$(DEBIAN_PYTHON) -m venv --system-site-packages $(DEBIAN_VENV) >&2
	@$(DEBIAN_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable . >&2
	@touch $@

# Type checkers do not run import hooks, so they see the package through a link.
$(BUILD)/types/fieldpost:
	@mkdir -p $(@D)
	@ln -sfn ../.. $@
