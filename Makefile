# make demo   the main job, end to end, on the embedded data; leaves runs/demo/report.html
# make test   the test suite (docs/testing.md); make test-quick leaves out its heavy part
# make lint   ruff: check and format
# make docs   API pages from the docstrings, in build/api
#
# Each creates .venv first if there is none (another Python: make demo PYTHON=python3.12), and
# installs again only if setup.py has changed.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Installs $what: shows the name of each package and pip's errors, but not its warnings.
define install
PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --progress-bar off -e "$$what" \
  2> >(grep -v '^WARNING' >&2) | \
{ while read -r word name rest; do \
    name=$${name##*/}; name=$${name%%-[0-9]*}; name=$${name%%[<>=!~\[(]*}; \
    case "$$word $$name" in \
      "Installing collected") printf '\n  unpacking' ;; \
      Collecting*|Processing*) printf ' %s' "$$name" ;; \
    esac; \
  done; echo; }
endef

# On CPU, XLA allocates large blocks with malloc at every step. If they are kept, in large pages, they
# are not faulted in again each time: about twice as fast here (glibc only; other systems ignore it).
TUNABLES := glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184

# A file stays on one worker; files are taken in the order of collection, heavy ones first.
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder $(TESTS)

.PHONY: demo test test-quick lint docs
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@GLIBC_TUNABLES=$(TUNABLES) $(BIN)/python scripts/demo.py --config=configs/demo.py --workdir=runs/demo

test: $(VENV)/.installed-test
	@$(PYTEST)

test-quick: $(VENV)/.installed-test
	@$(PYTEST) -m "not heavy"

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

docs: $(VENV)/.installed-docs
	@$(BIN)/python docs/api_pages.py build/api

# The Python of .venv if there is one, else the one to create it with.
BASE = $(shell [ -x $(BIN)/python ] && echo $(BIN)/python || echo $(PYTHON))

$(VENV)/.made:
	@command -v $(BASE) >/dev/null || \
	  { echo "error: $(BASE) is not installed; name another: make … PYTHON=python3.11" >&2; exit 2; }
	@$(BASE) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: orl_jax needs Python 3.11 or newer; $(BASE) is $$($(BASE) -V 2>&1)." \
	    "Delete $(VENV) if there is one, and: make … PYTHON=python3.11" >&2; exit 2; }
	@[ -x $(BIN)/python ] || { echo "Making $(VENV) with $$($(BASE) -V)"; $(BASE) -m venv $(VENV); } || \
	  { echo "error: $(BASE) -m venv failed (Debian and Ubuntu: install python3-venv)" >&2; exit 2; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made setup.py
	@echo "Installing orl_jax and what it needs into $(VENV) (1.5 GB, about a minute)"
	@what=.; $(install)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need (pytest, torch, trl, ruff, …)"
	@what='.[test,torch,peers]'; $(install)
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "Installing what the API pages need (pdoc)"
	@what='.[docs]'; $(install)
	@touch $@
