# make check: before a commit, under a minute; make test: README's test command; make slow: before a release
QUICK = tests/test_structure.py tests/test_space.py tests/test_schedule.py tests/test_losses.py tests/test_pareto.py \
	tests/test_samplers.py

.PHONY: check test slow
check:
	ruff check .
	ruff format --check .
	mypy
	python3 -m pytest -q -m "not slow" $(QUICK)

test:
	python3 -m pytest -q -n 2 -m "not slow"

slow:
	python3 -m pytest -q -n 2 -m slow
