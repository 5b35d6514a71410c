# The one list of commands. What needs logic is Rust, in xtask/.

# Tests of the recipes put built programs in their place.
overlayd := env("OVERLAYD", "cargo run --quiet --bin overlayd --")
xtask := env("XTASK", "cargo xtask")

# Lists the recipes.
default:
    @just --list

# The main job on a real local control plane.
demo *args:
    cargo xtask demo {{args}}

# Every test.
test:
    cargo xtask test

# What CI runs.
ci:
    .ci/run

# Formatting, lints and docs, without tests.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items

# Asks the real kustomize about our overlays and golden cases; `just oracle --record` keeps its answers.
oracle *args:
    cargo xtask oracle {{args}}

# Writes the custom resource definitions into base/.
crds:
    cargo xtask crds

# Sizes of files and functions, share of docs, tests per line of code, import circles.
shape:
    cargo test --quiet --test tidy the_shape -- --nocapture

# Licences, advisories, one version of each crate.
deny:
    cargo deny --workspace check

# Measurements beside peers and floors, in one run: `just bench build`.
bench *args:
    cargo xtask bench {{args}}

# The AWS side for EKS: Pod Identity add-on, role, policy, association. Idempotent; `--dry-run` only says it.
setup-eks *args:
    {{xtask}} setup-eks {{args}}

# Renders overlays/eks and applies it to the current context, and waits until everything is ready.
external-secrets-deploy overlay="overlays/eks" *args:
    {{overlayd}} apply {{overlay}} --wait {{args}}

# Writes a new value into AWS and waits until the Secret db-creds follows. Shows versions, never values.
external-secrets-test *args:
    {{xtask}} test-secret {{args}}
