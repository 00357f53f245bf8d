# Short names for cargo commands. Everything here can be typed without just.

# Serve the default model.
run:
    cargo run --release

# Type-check everything.
check:
    cargo check --workspace --all-targets

# Run the tests.
test:
    cargo test --workspace

# Refuse every warning.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Format the sources.
fix:
    cargo fmt --all

# Check what the compiler does not.
tidy:
    cargo xtask tidy

# Run the console blocks of the documents.
docs:
    cargo xtask docs

# Run everything that cargo can check.
ci:
    cargo xtask ci
