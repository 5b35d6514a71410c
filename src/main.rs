//! The `overlayd` program: parse, run, exit code.

use std::process::ExitCode;

/// The system's allocators keep what a large build has used, and musl's is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    overlayd::main()
}
