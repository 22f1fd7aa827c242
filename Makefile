# Two commands: `make demo` builds real images, `make test` runs every test. All targets: `make help`.
# GNU make 4.3 and /bin/sh are enough. Host packages are known to the program itself (`pipeline doctor`, whose table is
# in src/host/tools.toml), so nothing here lists any.

CARGO ?= cargo
RELEASE = target/release/pipeline
DEBUG = target/debug/pipeline
MANIFEST ?= pipelines/quickstart.toml
OUT ?= out
PREFIX ?= /usr/local
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Stories at once. Most of those with guests wait for the images that all share, or for their turn, while others run; how many
# guests run at once is decided in tests/it/support/line.rs.
export RUST_TEST_THREADS ?= 16
# A fresh clone builds once: what would make the next build quicker costs time there. And the lints come with that build:
# clippy's compiler makes the same programs as rustc, so that what they depend on is not compiled a second time for clippy.
ifdef CI
export CARGO_INCREMENTAL := 0
export RUSTC_WORKSPACE_WRAPPER := clippy-driver
export RUSTFLAGS := -D warnings
LINT = $(CARGO) test --locked --all-targets --no-run
else
LINT = $(CARGO) clippy --locked --all-targets -- -D warnings
endif
# Further words for the test binary: `make test TESTS='doctor:: --nocapture'`.
TESTS ?=
# With REAL=1 every guest boots and nothing is kept from an earlier test run (docs/testing.md).
export PIPELINE_TEST_REAL := $(REAL)
# What `make fuzz` attacks (a file of tests/fuzz/targets), and for how long.
TARGET ?=
SECONDS ?= 600

# Where the words of tests/words.txt are looked for; consoles of installers, inputs of users and recorded runs say what they say.
OURS = src docs guest templates pipelines tests README.md ARCHITECTURE.md SECURITY.md CHANGELOG.md Makefile \
	Cargo.toml build.rs .ci
NOT_OURS = --exclude-dir=corpus --exclude-dir=artifacts --exclude-dir=target --exclude-dir=runs --exclude-dir=fixtures \
	--exclude=*.snap --exclude=*.txt --exclude=Cargo.lock

.DELETE_ON_ERROR:
.PHONY: help demo install deb static test quick test-install test-machines test-farm chaos chaos-farm bench fuzz check docs setup toolchain clean

help:
	@echo 'make demo    set this host up, build the program, build the images of $(MANIFEST), check their sums'
	@echo 'make install [PREFIX=/usr/local] [DESTDIR=]   program, man pages, completions of shells'
	@echo 'make deb     a Debian package of that (needs cargo-deb)'
	@echo 'make static  a program without shared libraries (needs the musl target of rustup, and musl-tools)'
	@echo 'make test    set this host up for the tests and run all of them (with CI=1: check first; with REAL=1: restore no guest)'
	@echo 'make quick   the same without the stories that need a full guest'
	@echo 'make test-install [BARE=bare]   a whole Debian installation, an hour without KVM (not in CI; with BARE next to the'
	@echo '             same one in a plain qemu, to compare their times; see tests/install/run.sh)'
	@echo 'make test-machines   one Debian for amd64 and for arm64, from nothing to two checked sizes, with their times (not in CI; see'
	@echo '             tests/machines/run.sh)'
	@echo 'make test-farm   the quickstart by two hosts of a Slurm on loopback, then taken by a third store (not in CI)'
	@echo 'make chaos   kill a running quickstart 200 times, then look whether anything was lost (KILLS=, SEED=)'
	@echo 'make chaos-farm   kill workers, submitters and daemons of a Slurm on loopback 100 times (KILLS=, SEED=)'
	@echo 'make check   formatting, lints, shell scripts, words'
	@echo 'make bench   measure: ratios to gzip and pigz (from nothing, and with an earlier package), planning, a run with nothing to do'
	@echo 'make docs    write docs/cli.md and docs/manifest.md, from the program itself'
	@echo 'make fuzz TARGET=packer SECONDS=600   look for input that breaks a reader (needs cargo-fuzz; not in CI); targets:'
	@echo '        $(notdir $(basename $(wildcard tests/fuzz/targets/*.rs)))'
	@echo 'make setup   only install the host packages that builds and tests need'

demo: toolchain
	$(CARGO) build --release --locked
	@$(call set_up,$(RELEASE),)
	$(RELEASE) run $(MANIFEST)
	@cd $(OUT) && for sums in SHA512SUM.txt:sha512sum MD5SUM.txt:md5sum; do \
		file=$${sums%%:*}; program=$${sums##*:}; \
		echo "checking $(OUT)/$$file"; "$$program" -c "$$file" || exit 1; \
	done
	@echo 'the images:'; find $(OUT) -type f ! -name '*.txt' -exec ls -lh {} +

# As a plain user into a home: make install PREFIX=$$HOME/.local. Built first where that was not done, so that
# `sudo make install` needs no compiler of root's.
install:
	@[ -x $(RELEASE) ] && [ "$$(id -u)" = 0 ] || $(CARGO) build --release --locked
	install -D -m 755 $(RELEASE) $(DESTDIR)$(PREFIX)/bin/pipeline
	$(RELEASE) man $(DESTDIR)$(PREFIX)/share/man/man1
	@for to in bash:bash-completion/completions/pipeline zsh:zsh/site-functions/_pipeline \
		fish:fish/vendor_completions.d/pipeline.fish nushell:nushell/vendor/autoload/pipeline.nu; do \
		file="$(DESTDIR)$(PREFIX)/share/$${to#*:}"; mkdir -p "$${file%/*}" && \
		$(RELEASE) completions "$${to%%:*}" > "$$file" && echo "$$file" || exit 1; \
	done

deb:
	@command -v cargo-deb >/dev/null || { \
		echo 'make: cargo-deb is missing; install it (cargo install cargo-deb --locked) and start again'; exit 3; } >&2
	rm -rf target/deb
	$(MAKE) install PREFIX=/usr DESTDIR=target/deb
	$(CARGO) deb --no-build --no-strip

static: toolchain
	$(CARGO) build --release --locked --target x86_64-unknown-linux-musl

test: setup
ifneq ($(REAL),1)
	@$(begin_quickstart)
endif
ifdef CI
	$(MAKE) check
endif
	$(CARGO) test --locked -- $(TESTS)

quick: setup
	$(CARGO) test --locked --lib -- $(TESTS)
	$(CARGO) test --locked --test it -- --skip full_guest:: $(TESTS)

test-install: toolchain
	$(CARGO) build --release --locked
	@$(call set_up,$(RELEASE),--tests)
	tests/install/run.sh $(RELEASE) target/test-install $(BARE)

test-machines: toolchain
	$(CARGO) build --release --locked
	@$(call set_up,$(RELEASE),--tests)
	tests/machines/run.sh $(CURDIR)/$(RELEASE) target/test-machines

# KILLS, SEED and PIPELINE (a manifest, or `mini`) may be given; see tests/chaos/main.rs.
chaos: setup
	$(CARGO) test --locked --test chaos

test-farm: setup
	$(CARGO) test --locked --test it -- --ignored --nocapture full_guest::hosts

chaos-farm: setup
	KILLS=$(KILLS) SEED=$(SEED) $(CARGO) test --locked --test it -- --ignored --nocapture farm::kills

bench: setup
	$(CARGO) bench --locked --bench speed

# What is found on the way stays below target/: the corpora in tests/fuzz change by hand alone. What breaks a reader is
# left in tests/fuzz/artifacts.
fuzz: toolchain
	@[ -f "tests/fuzz/targets/$(TARGET).rs" ] || { \
		echo 'make: say what to attack: make fuzz TARGET=…, one of'; \
		echo '      $(notdir $(basename $(wildcard tests/fuzz/targets/*.rs)))'; exit 2; } >&2
	@command -v cargo-fuzz >/dev/null && command -v c++ >/dev/null || { \
		echo 'make: cargo-fuzz or the C++ compiler it needs is missing; install them (cargo install cargo-fuzz --locked;'; \
		echo '      Debian, Ubuntu: apt-get install g++) and start again'; exit 3; } >&2
	@mkdir -p target/fuzz/corpus/$(TARGET)
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none --codegen-units 16 \
		$(TARGET) target/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET) -- \
		-max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=4096

check: toolchain
	$(CARGO) fmt --check
	$(LINT)
	@! grep -rniwE -f tests/words.txt $(NOT_OURS) $(OURS) || { \
		echo 'make: say these in the words of CONTRIBUTING.md, "Words"'; exit 1; } >&2
	shellcheck $$(grep -rlE --exclude-dir=corpus --exclude-dir=artifacts --exclude='*.j2' '^#!.*(/| )(sh|bash|dash)( |$$)' .ci guest tests)

docs: toolchain
	$(CARGO) run --locked --quiet -- reference > docs/cli.md.new && mv docs/cli.md.new docs/cli.md
	$(CARGO) run --locked --quiet -- schema --format markdown > docs/manifest.md.new && mv docs/manifest.md.new docs/manifest.md

setup: toolchain
	$(CARGO) build --locked
	@# The tests only ask cloud-init to judge files; installed for that, it must not act on this host at its next boot.
	@command -v cloud-init >/dev/null || [ -e /etc/cloud/cloud-init.disabled ] || \
		$(SUDO) sh -c 'mkdir -p /etc/cloud && : > /etc/cloud/cloud-init.disabled'
	@$(call set_up,$(DEBUG),--tests)

toolchain:
	@command -v $(CARGO) >/dev/null || { \
		echo 'make: cargo is missing; install Rust (rustup, or your distribution: cargo) of at least the'; \
		echo '      version that `rust-version` in Cargo.toml says, and start again'; exit 3; } >&2
	@command -v cc >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || \
		{ apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev; }
	@command -v cc >/dev/null || { \
		echo 'make: cc is missing; install a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev;'; \
		echo '      Fedora: dnf install gcc; Arch: pacman -S gcc) and start again'; exit 3; } >&2

# $(call set_up,program,options): installs what is missing. Root does it at once; other users through sudo, which may
# ask for the password here; without sudo the line to run is printed. What is there already is not touched.
define set_up
if [ "$$(id -u)" = 0 ]; then $(1) doctor $(2) --install; \
elif $(1) doctor $(2) >/dev/null; then :; \
elif command -v sudo >/dev/null; then sudo $(1) doctor $(2) --install >/dev/null; $(1) doctor $(2); \
else $(1) doctor $(2); fi
endef

# The images that most stories wait for are begun while the tests are still compiled. The stories ask for the same, and the
# program lets them wait for what is being built; whatever fails here is reported there.
define begin_quickstart
mkdir -p target/tmp/quickstart && cp pipelines/quickstart.toml target/tmp/quickstart/ && cd target/tmp/quickstart && \
env -i PATH="$$PATH" HOME="$$PWD" $(CURDIR)/$(DEBUG) run quickstart.toml --no-check --store store >begun.log 2>&1 </dev/null &
endef

clean:
	$(CARGO) clean
	rm -rf $(OUT)
