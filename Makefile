# make demo   the main job, end to end, on the embedded data; leaves runs/demo/report.html
# make test   the test suite
# make lint   ruff: check and format
#
# Each makes .venv first where there is none (another Python: make demo PYTHON=python3.12), and
# installs again only when setup.py has changed.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# pip, with the name of each package as it comes; its errors are shown, its warnings are not.
define install
PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --progress-bar off -e '$(1)' \
  2> >(grep -v '^WARNING' >&2) | \
{ while read -r word name rest; do \
    name=$${name##*/}; name=$${name%%-[0-9]*}; name=$${name%%[<>=!~\[(]*}; \
    case "$$word $$name" in \
      "Installing collected") printf '\n  unpacking' ;; \
      Collecting*|Processing*) printf ' %s' "$$name" ;; \
    esac; \
  done; echo; }
endef

.PHONY: demo test lint
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(BIN)/python scripts/demo.py --config=configs/demo.py --workdir=runs/demo

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "error: $(PYTHON) is not installed; name another: make … PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: orl_jax needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	    "Name another: make … PYTHON=python3.11" >&2; exit 2; }
	@echo "Making $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: $(PYTHON) -m venv failed (Debian and Ubuntu: install python3-venv)" >&2; exit 2; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made setup.py
	@echo "Installing orl_jax and what it needs into $(VENV) (about 2 GB, a minute or two)"
	@$(call install,.)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need (pytest, torch, ruff, ...)"
	@$(call install,.[test,torch])
	@touch $@
