# The list of commands: `just` prints it. What needs logic is Rust: xtask/ prepares, crates/devtools/ works.
# Without just on the machine, `cargo xtask just RECIPE` installs it first.

# Tests of the recipes put built programs in their place.
overlayd := env("OVERLAYD", "cargo run --quiet --bin overlayd --")
xtask := env("XTASK", "cargo xtask")

# Lists the recipes.
default:
    @{{just_executable()}} --list

# Shows the main job on a real local control plane; `--once` ends when it is done.
demo *args:
    cargo xtask demo {{args}}

# Runs every test, then the demo.
test:
    cargo xtask test

# Everything that CI runs, the shortest steps first.
ci: format spelling test lint docs alone fuzz-check deny

# Everything that CI runs, without the tests.
check: format spelling lint docs alone fuzz-check deny

# Fails if a file is not formatted; `cargo fmt --all` formats it.
format:
    cargo fmt --all --check

# Checks the spelling; `_typos.toml` lists the exceptions.
spelling:
    cargo xtask typos

# Compiles everything with all lints, and denies warnings.
lint:
    cargo clippy --workspace --all-targets -- --deny warnings

# Builds the documentation of the code, and denies warnings.
docs:
    RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items

# Compiles each pure crate alone, since features unify in a workspace build.
alone:
    cargo xtask check-alone

# Compiles the fuzz targets, with the stable compiler.
fuzz-check:
    cargo xtask check-fuzz

# Checks licences, sources, and that each crate has one version.
deny:
    cargo xtask deny check bans licenses sources

# Checks for security advisories, whose database is downloaded.
advisories:
    cargo xtask deny check advisories

# Fuzzes one target; needs a nightly compiler and cargo-fuzz.
fuzz target seconds="60":
    cp Cargo.lock fuzz/Cargo.lock
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# Fuzzes each target in turn.
fuzz-all seconds="60":
    for target in $(cargo +nightly fuzz list); do {{just_executable()}} fuzz "$target" {{seconds}} || exit 1; done

# Asks kustomize about our overlays and golden cases and compares; `just oracle --record` keeps its answers.
oracle *args:
    cargo xtask oracle {{args}}

# Writes the custom resource definitions into base/.
crds:
    cargo xtask crds

# Sizes of files and functions, share of docs, tests per line of code, import circles.
shape:
    cargo test --quiet --test tidy the_shape -- --nocapture

# Measures overlayd, its peers and the least possible work in one run: `just bench build`.
bench *args:
    cargo xtask bench {{args}}

# Builds the release archive and its checksum into target/dist.
dist tag:
    test "{{tag}}" = "v$(cargo pkgid | sed 's/.*[#@]//')" || { echo "{{tag}} is not the version in Cargo.toml" >&2; exit 1; }
    cargo build --release --locked --bin overlayd
    mkdir -p target/dist
    tar -czf "target/dist/overlayd-{{tag}}-{{os()}}-{{arch()}}.tar.gz" -C target/release overlayd -C "$PWD" LICENSE README.md CHANGELOG.md
    cd target/dist && sha256sum "overlayd-{{tag}}-{{os()}}-{{arch()}}.tar.gz" > "overlayd-{{tag}}-{{os()}}-{{arch()}}.tar.gz.sha256"

# Creates the AWS side for EKS: Pod Identity add-on, role, policy, association. Idempotent; `--dry-run` only prints it.
setup-eks *args:
    {{xtask}} setup-eks {{args}}

# Renders overlays/eks, applies it to the current context, and waits until everything is ready.
external-secrets-deploy overlay="overlays/eks" *args:
    {{overlayd}} apply {{overlay}} --wait {{args}}

# Writes a new value into AWS and waits until the Secret db-creds follows. Shows versions, never values.
external-secrets-test *args:
    {{xtask}} test-secret {{args}}
