# What a fresh Debian machine needs besides Rust; installed only when something is missing.
PACKAGES := g++ cmake make python3-pip
TEST_PACKAGES := sip-tester kamailio baresip-core rtpengine-daemon linphone-cli postgresql
# Recognition on a GPU: `make run FEATURES=vulkan`, or cuda (wants NVIDIA's toolkit), or metal.
FEATURES ?=
FEATURE_PACKAGES := $(if $(findstring vulkan,$(FEATURES)),libvulkan-dev glslc)
# How long each fuzz target runs, in seconds.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS := sip sdp rtp rtcp telephone_event siprec
# The peer that the media bench runs beside, and the server of the store's bench.
BENCH_PACKAGES := rtpengine-daemon postgresql
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# The recording of the demo's call, caller left and operator right; without one, the sample recordings are played.
WAV ?= $(firstword $(wildcard ../shared/audio/d01*.wav))
DEMO = ./target/release/xinqiao demo $(if $(WAV),--wav $(WAV))

.PHONY: run demo build model test test-chaos test-peers fuzz lint deny bench bench-recognition bench-asr bench-bridge bench-store bench-latency bench-micro bench-media needs test-needs bench-needs

# Starts everything, places one call through it, and stays up until Ctrl-C.
run: model
	$(DEMO) --stay

# The same, and ends after the call.
demo: model
	$(DEMO)

build: needs
	cargo build --release $(if $(FEATURES),--features $(FEATURES))

# Brings the speech model and the sample recordings to data/models, verified and converted.
model: build
	./target/release/xinqiao models pull --samples

test: needs test-needs target/peers/ready
	PEERS_PYTHON=$(CURDIR)/target/peers/bin/python cargo test

# Only the tests that kill -9 both sides of the delivery; a part of `make test`.
test-chaos: needs test-needs
	cargo test --test integration chaos

# What peers may send, however broken, as long as FUZZ_SECONDS says; needs a nightly toolchain (rustup toolchain install
# nightly). `make test` has the same targets under a bounded mutation test.
fuzz: needs
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	FUZZ_CORPUS=$(CURDIR)/fuzz/corpus cargo test --lib fuzzing::tests::seeds -- --ignored
	for target in $(FUZZ_TARGETS); do \
	  cargo +nightly fuzz run -s none $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 || exit 1; \
	done

lint: needs
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps

# Licences, advisories and sources of everything that is linked in.
deny: needs
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

# One after the other, so that none disturbs another.
bench: bench-micro bench-media bench-store bench-bridge bench-latency bench-recognition

bench-micro: needs
	cargo bench --bench micro

# 400 recorded calls and 20,000 short ones; the same load through rtpengine in user space. About four minutes.
bench-media: needs bench-needs
	cargo bench --bench media

# 40 drafts and 40 lines a second beside 100 bridged calls, into a file and into a server. About three minutes.
bench-store: needs bench-needs
	cargo bench --bench store

bench-bridge: model
	cargo bench --bench bridge

bench-latency: model
	cargo bench --bench latency

bench-recognition: model target/bench/venv/ready
	target/bench/venv/bin/python benches/recognition/prepare_model.py target/bench/model
	cargo bench --bench recognition

# Live calls beside faster-whisper: latency, calls at once, character errors. Some eight minutes.
bench-asr: model target/bench/venv/ready
	target/bench/venv/bin/python benches/recognition/prepare_model.py target/bench/model
	cargo bench --bench asr

target/bench/venv/ready: benches/recognition/requirements.txt
	python3 -c 'import venv, ensurepip' 2>/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv; }
	python3 -m venv target/bench/venv
	target/bench/venv/bin/pip install -q -r $<
	touch $@

# Only the checks against other implementations of gRPC and vCon, in Python; a part of `make test`.
test-peers: needs target/peers/ready
	PEERS_PYTHON=$(CURDIR)/target/peers/bin/python cargo test --test integration foreign
	PEERS_PYTHON=$(CURDIR)/target/peers/bin/python cargo test --lib vcon

# With the newest Python: PyPI's vcon wants 3.12, and with an older one its check is left out.
target/peers/ready: tests/peers/requirements.txt
	python3 -c 'import venv, ensurepip' 2>/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv; }
	rm -rf target/peers
	for python in python3.14 python3.13 python3.12 python3; do $$python -m venv target/peers 2>/dev/null && break; done
	target/peers/bin/pip install -q -r $<
	touch $@

needs:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust 1.95 or newer (rustup)'; exit 1; }
	@command -v c++ >/dev/null && command -v cmake >/dev/null && python3 -m pip --version >/dev/null 2>&1 || \
	  { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q $(PACKAGES); }
	@$(if $(FEATURE_PACKAGES),dpkg -s $(FEATURE_PACKAGES) >/dev/null 2>&1 || \
	  { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q $(FEATURE_PACKAGES); })

test-needs:
	@(for program in sipp kamailio baresip rtpengine linphonec; do command -v $$program || exit 1; done) >/dev/null && \
	  ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || \
	  { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends $(TEST_PACKAGES); }

bench-needs:
	@command -v rtpengine >/dev/null && ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends $(BENCH_PACKAGES); }
