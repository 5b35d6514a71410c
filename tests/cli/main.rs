//! The program as a person runs it: whole output and exit code.

mod aws;
mod build;
mod diff;
mod migrate;
mod panics;
mod remote;
mod run;
mod template;

use std::path::Path;
use std::process::Command;

/// Runs the program in a folder; standard output, standard error and the exit code as one text.
fn overlayd(directory: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd"));
    command
        .current_dir(directory)
        .args(args)
        .env_remove("KUBECONFIG")
        .env_remove("POD_NAMESPACE")
        .env("HOME", directory);
    let output = command.output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    format!(
        "exit {code}\n--- stdout\n{}--- stderr\n{}",
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let file = directory.path().join(path);
        std::fs::create_dir_all(file.parent().expect("a file has a folder"))
            .expect("the folder can be made");
        std::fs::write(file, text).expect("the file can be written");
    }
    directory
}
