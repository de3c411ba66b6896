# Every task of this project. A target makes the virtual environment that it needs, .venv-<extra of setup.cfg>, and
# re-uses it until setup.cfg or pyproject.toml changes. `make` alone lists the targets.
#
#   PYTHON=python3.12     the interpreter; else the first in PATH that is 3.10 or newer and has venv
#   ARGS='-k fork -x'     further arguments of the program that the target runs
#   VENV=/somewhere/ci    prefix of the virtual environments

PYTHON ?=
ARGS ?=
MINUTES ?=
PEERS ?=
SEEDS ?=
VENV ?= .venv$(subst /,-,$(PYTHON:%=-%))

.PHONY: help demo test browser coverage faults soak bench lint format types docs wheel contract dialect ci clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

$(VENV)-%/ready: setup.cfg pyproject.toml
	@python=$$(sh .ci/find-python $(PYTHON)) || exit 1; \
	echo "making $(VENV)-$* with $$python"; \
	"$$python" -m venv --clear "$(VENV)-$*" && \
	"$(VENV)-$*/bin/python" -m pip install -qq --disable-pip-version-check "pip>=21.3" && \
	"$(VENV)-$*/bin/python" -m pip install -qq --disable-pip-version-check -e ".[$*]"
	@touch "$@"

demo: $(VENV)-demo/ready ## the example shop on a real PostgreSQL, until Ctrl-C
	@exec "$(VENV)-demo/bin/pgdbpool" demo $(ARGS)

test: $(VENV)-test/ready ## the whole test suite
	@"$(VENV)-test/bin/python" -m pytest $(ARGS)

browser: $(VENV)-browser/ready ## the status page in a real Chromium
	@PGDBPOOL_TEST_BROWSER=required "$(VENV)-browser/bin/python" -m pytest tests/browser --timeout 120 $(ARGS)

coverage: $(VENV)-test/ready ## the test suite, then the lines and branches that it did not reach
	@"$(VENV)-test/bin/python" -m coverage erase
	@"$(VENV)-test/bin/python" -m coverage run -m pytest $(ARGS)
	@"$(VENV)-test/bin/python" -m coverage combine -q
	@"$(VENV)-test/bin/python" -m coverage report

faults: $(VENV)-faults/ready ## the fault matrix; SEEDS=5, PEERS=1 (all pools, writes doc/reliability.md), ARGS='5 6'
	@"$(VENV)-faults/bin/python" -m tests.faults --seeds $(or $(SEEDS),1) $(if $(PEERS),--peers) $(ARGS)

soak: $(VENV)-test/ready ## random faults under load, and nothing lost, left or grown; MINUTES=30
	@"$(VENV)-test/bin/python" -m tests.soak --minutes $(or $(MINUTES),30) $(ARGS)

bench: $(VENV)-bench/ready ## the figures beside those of other pools
	@"$(VENV)-bench/bin/python" -m benchmarks $(ARGS)

lint: $(VENV)-lint/ready ## style and formatting
	@"$(VENV)-lint/bin/python" -m ruff check $(ARGS)
	@"$(VENV)-lint/bin/python" -m ruff format --check

format: $(VENV)-lint/ready ## mend what lint would complain of, where that is mechanical
	@"$(VENV)-lint/bin/python" -m ruff check --fix $(ARGS)
	@"$(VENV)-lint/bin/python" -m ruff format

types: $(VENV)-lint/ready ## strict types
	@"$(VENV)-lint/bin/python" -m mypy $(ARGS)

docs: $(VENV)-doc/ready ## the documentation, warnings are errors
	@"$(VENV)-doc/bin/python" -m sphinx -q -W --keep-going -n doc doc/_build/html $(ARGS)
	@echo "doc/_build/html/index.html"

wheel: $(VENV)-test/ready ## the wheel, in dist/
	@rm -rf build dist
	@"$(VENV)-test/bin/python" -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

contract: $(VENV)-test/ready ## the sentences of doc/contract.md that no test names
	@"$(VENV)-test/bin/python" tests/contract/sentences.py $(ARGS)

dialect: $(VENV)-test/ready ## the examples of pgdbpool 1.0.2 under 1.0.2 itself and under this version
	@"$(VENV)-test/bin/python" -m tests.dialect $(ARGS)

ci: ## all of it, in new virtual environments
	@bash .ci/run

clean: ## remove what the targets made
	@rm -rf .venv*/ build dist doc/_build *.egg-info .coverage* .mypy_cache .pytest_cache .ruff_cache
