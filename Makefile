# Every line here only calls cargo or our own command, `nightshift`; the work is done there.
.PHONY: help run test chaos soak handler bench check
.DEFAULT_GOAL := help
# Statements are checked against the committed `.sqlx`, not against a database of yours.
export SQLX_OFFLINE := true
TARGET := $(or $(CARGO_TARGET_DIR),target)

help:   ## Show this list.
	@sed -n 's/^\([a-z]*\): *## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

run:    ## Start everything here, send samples, stay until Ctrl-C. ONCE=1: only the round.
	cargo build --package nightshift-cli --package nightshift-broker --bins
	$(TARGET)/debug/nightshift up $(if $(ONCE),--once)

test:   ## Run every test, with private servers.
	cargo build --workspace --bins
	$(TARGET)/debug/nightshift servers exec -- cargo test --workspace

chaos:  ## Kill every process at every crash point, then at any moment. KILLS=1000: more of these; SEED: the same again.
	cargo build --workspace --bins
	$(TARGET)/debug/nightshift servers exec --with postgres -- $(TARGET)/debug/chaos $(KILLS) $(SEED)

soak:   ## The long forms of the tests: fuzzing in a million rounds, a thousand kills, every zone and day, leaderboards after a hundred million events (30 GB of disk). Takes more than an hour.
	cargo build --workspace --bins
	NIGHTSHIFT_TEST_SOAK=1 NIGHTSHIFT_TEST_FUZZ_ROUNDS=1000000 $(TARGET)/debug/nightshift servers exec -- cargo test --workspace
	NIGHTSHIFT_TEST_BENCH_EVENTS=100000000 $(MAKE) --no-print-directory bench PARTS=rollup

handler: ## Build the handler as it is deployed to Linux: one file that needs no library. Asks for glibc's static ones (Debian: libc6-dev).
	cargo rustc --release --config 'profile.release.lto="fat"' --package nightshift-functions --bin handler -- -C target-feature=+crt-static -C relocation-model=static

bench:  ## Measure speed and size; fails below the bars. PARTS="work pace start history broker host ops boards readers rollup" picks.
	cargo build --release --workspace --exclude nightshift-functions --bins
	@$(MAKE) --no-print-directory handler
	$(TARGET)/release/nightshift servers exec --with node,redis -- $(TARGET)/release/bench $(PARTS)

check:  ## Format, lints and documentation, without running anything.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings --allow rustdoc::private_intra_doc_links' cargo doc --workspace --no-deps --document-private-items
