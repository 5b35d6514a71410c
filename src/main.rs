//! The `overlayd` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    overlayd::cli::main()
}
