//! Measures by hand what a process for each build would cost beside a build in the daemon's own process.
//!
//! `cargo run --release --example process_per_build -- target/release/overlayd DIRECTORY`. ARCHITECTURE.md, "Decisions", has
//! the figures that the decision was made with.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kustomize::{BuildOptions, FileTree, RepoPath};

/// How often each is measured; the median is shown.
const TIMES: usize = 50;

#[expect(clippy::print_stdout, reason = "it is a program for people")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let usage = "give the program and a directory to build";
    let program = arguments.next().ok_or(usage)?;
    let directory = arguments.next().ok_or(usage)?;
    let files = read(&directory, &directory)?;
    let started = median(|| run(&program, &["--version".as_ref()]))?;
    let outside = median(|| run(&program, &["build".as_ref(), directory.as_ref()]))?;
    let inside = median(|| {
        let options = BuildOptions::default();
        kustomize::build(&FileTree::of(files.clone()), &RepoPath::root(), &options)
            .map(drop)
            .map_err(|errors| errors.to_string().into())
    })?;
    println!("a process that does nothing: {started:?}");
    println!("a build in a process of its own: {outside:?}");
    println!("the same build in this process: {inside:?}");
    Ok(())
}

fn run(program: &Path, arguments: &[&std::ffi::OsStr]) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(program);
    let status = command.args(arguments).stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the program ended with {status}").into())
    }
}

fn median(
    mut work: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[TIMES / 2])
}

/// A path from the root, and the content.
type File = (String, Vec<u8>);

/// All files below a directory.
fn read(root: &Path, directory: &Path) -> Result<Vec<File>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(read(root, &path)?);
            continue;
        }
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        files.push((name, std::fs::read(&path)?));
    }
    Ok(files)
}
