# Two commands set up everything: `make demo` and `make test`. The rest is for work on glet itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS_OF_LOAD ?= 20
JOBS ?= $(shell nproc)
CLANGXX ?= clang++
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= http_parser oip_json grpc tokens msgpack
CORE := pyproject.toml CMakeLists.txt csrc/CMakeLists.txt $(shell find csrc -name '*.cpp' -o -name '*.h')
CLANG_FORMAT_FILES = $(shell find csrc tests/cpp tests/fuzz tests/bench -name '*.cpp' -o -name '*.h')

.PHONY: demo test test-python test-cpp sanitize fuzz lint format bench clean

demo: $(VENV)/demo.stamp
	$(BIN)/glet demo --seconds $(SECONDS_OF_LOAD)

test: test-cpp test-python

test-python: $(VENV)/dev.stamp
	$(BIN)/python -m pytest

test-cpp: build/cpp/CMakeCache.txt
	cmake --build build/cpp -j $(JOBS)
	ctest --test-dir build/cpp --output-on-failure

# The whole core twice more: memory and undefined behaviour, then data races.
sanitize: build/doctest.stamp $(VENV)/dev.stamp
	for kind in address thread; do \
	  $(CMAKE_TESTS) -B build/$$kind -DGLET_SANITIZE=$$kind && cmake --build build/$$kind -j $(JOBS) && \
	  ctest --test-dir build/$$kind --output-on-failure || exit 1; \
	done

# The parsers of the core under libFuzzer, one after the other. What was found interesting stays in
# build/fuzz/corpus; what failed is in build/fuzz/crash-*.
fuzz:
	cmake -S . -B build/fuzz -DGLET_FUZZ=ON -DCMAKE_CXX_COMPILER=$(CLANGXX)
	cmake --build build/fuzz -j $(JOBS)
	build/fuzz/tests/fuzz/cpp/write_seeds build/fuzz/corpus
	for target in $(FUZZ_TARGETS); do \
	  build/fuzz/tests/fuzz/cpp/$${target}_fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=65536 \
	    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$target || exit 1; \
	done

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CLANG_FORMAT_FILES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CLANG_FORMAT_FILES)

bench: $(VENV)/dev.stamp
	$(BIN)/python tests/bench/run.py

clean:
	rm -rf $(VENV) build

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "glet needs Python >= 3.11; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python $(CORE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python $(CORE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/demo.stamp

CMAKE_TESTS = cmake -S . -DGLET_TESTS=ON -DDOCTEST_INCLUDE=$$(cat build/doctest.stamp)

build/cpp/CMakeCache.txt: build/doctest.stamp $(VENV)/dev.stamp
	$(CMAKE_TESTS) -B build/cpp

# doctest is one header: from the system where it is, else unpacked from Debian's package, which
# needs no root.
build/doctest.stamp:
	mkdir -p build/doctest
	@if [ -f /usr/include/doctest/doctest.h ]; then echo /usr/include > $@; \
	elif (cd build/doctest && apt-get download -qq doctest-dev && dpkg -x doctest-dev_*.deb .); then \
	  echo $(CURDIR)/build/doctest/usr/include > $@; \
	else echo 'doctest is missing and could not be downloaded: apt-get install doctest-dev' >&2; exit 1; fi
