# What a fresh Debian machine needs besides Rust; installed only when something is missing.
PACKAGES := gcc libc6-dev python3-pip
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: model test lint needs

# Brings the speech model and sample recordings to data/models, verified and converted.
model: needs
	cargo run --release -- models pull --samples

test: needs
	cargo test

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

needs:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust 1.95 or newer (rustup)'; exit 1; }
	@command -v cc >/dev/null && python3 -m pip --version >/dev/null 2>&1 || \
	  { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q $(PACKAGES); }
