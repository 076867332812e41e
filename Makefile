# Everything a fresh machine needs comes by itself: Python ≥ 3.11 and git are enough.
# ARGS is passed on: make up ARGS="--detach --ui-port 4300", make test ARGS="-k canary".

UV := $(shell sh scripts/find-uv)
UV_RUN = $(UV) run --frozen
ARGS ?=
BENCH ?=
FLOW ?=
export UV_PYTHON_PREFERENCE ?= system
# Images of Python often forbid bytecode; every process of a stack would then compile all that it imports, two seconds each.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: up test check bench chaos install uv

up: install
	@exec $(UV_RUN) caretaker up $(ARGS)

test: install
	$(UV_RUN) pytest $(ARGS)

check: install
	$(UV_RUN) ruff check
	$(UV_RUN) mypy
	$(UV_RUN) lint-imports
	$(UV) lock --check

bench: install
	$(UV_RUN) python -m tests.benchmarks $(BENCH)

chaos: install
	$(UV_RUN) python -m tests.chaos $(FLOW)

install: uv
	@$(UV) sync --frozen --quiet

# Only where find-uv found none.
uv:
	@test -x "$$(command -v $(UV))" || sh scripts/get-uv
