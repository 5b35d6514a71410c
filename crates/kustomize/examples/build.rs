//! Builds a directory of the disk as `kustomize build` does, without the daemon: for comparisons at a desk.
//!
//! `cargo run -p kustomize --example build -- [FLAGS] DIRECTORY`, with kustomize's `--reorder`,
//! `--load-restrictor`, `--enable-managedby-label` and `-o DIRECTORY`.
//!
//! Files by `http://` are fetched plainly; repositories elsewhere are not.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use kustomize::{
    BuildErrors, BuildOptions, FileEntry, FileTree, Files, LoadRestriction, Outcome, Provided,
    Remote, Rendered, Reorder, RepoPath, build_or_need,
};

/// The whole disk, as a tree.
struct Disk;

impl Files for Disk {
    fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
        let absolute = format!("/{}", path.as_str());
        let Ok(metadata) = std::fs::symlink_metadata(&absolute) else {
            return Ok(None);
        };
        if metadata.is_symlink() {
            let target = std::fs::read_link(&absolute).map_err(|error| error.to_string())?;
            return Ok(Some(FileEntry::Link(target.to_string_lossy().into_owned())));
        }
        Ok(Some(if metadata.is_dir() {
            FileEntry::Directory
        } else {
            FileEntry::File(None)
        }))
    }

    fn read(&self, path: &RepoPath) -> Result<Arc<[u8]>, String> {
        let bytes = std::fs::read(format!("/{}", path.as_str()));
        bytes.map(Into::into).map_err(|error| error.to_string())
    }

    fn list(&self, path: &RepoPath) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(format!("/{}", path.as_str()));
        let entries = entries.map_err(|error| error.to_string())?.flatten();
        Ok(entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    }
}

fn main() -> ExitCode {
    let mut options = BuildOptions::default();
    let (mut directory, mut output) = (".".to_owned(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--load-restrictor"
                if arguments
                    .next()
                    .is_some_and(|value| value.ends_with("None")) =>
            {
                options.load_restriction = LoadRestriction::None;
            }
            "--reorder" if arguments.next().is_some_and(|value| value == "none") => {
                options.reorder = Reorder::None;
            }
            "--load-restrictor" | "--reorder" => {}
            "--enable-managedby-label" => options.managed_by_label = true,
            "-o" => output = arguments.next(),
            _ => directory = argument,
        }
    }
    match built(&directory, &options) {
        Ok(rendered) => {
            for warning in &rendered.warnings {
                eprintln!("warning: {warning}");
            }
            match output {
                None => print!("{}", rendered.to_yaml()),
                Some(folder) => {
                    for (name, object) in rendered.file_names().into_iter().zip(&rendered.objects) {
                        if let Err(error) =
                            std::fs::write(Path::new(&folder).join(name), object.to_yaml())
                        {
                            eprintln!("error: {error}");
                            return ExitCode::FAILURE;
                        }
                    }
                }
            }
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("error: {errors}");
            ExitCode::FAILURE
        }
    }
}

fn built(directory: &str, options: &BuildOptions) -> Result<Rendered, BuildErrors> {
    let path = |path: &Path| {
        let text = path.to_string_lossy().into_owned();
        RepoPath::root().join(&text).unwrap_or_default()
    };
    let current = std::env::current_dir().unwrap_or_default();
    let directory = path(&current.join(directory));
    let mut tree = FileTree::disk(Arc::new(Disk), path(&current));
    loop {
        match build_or_need(&tree, &directory, options)? {
            Outcome::Done(rendered) => return Ok(rendered),
            Outcome::Needs(remotes) => {
                for remote in remotes {
                    let outcome = match &remote {
                        Remote::File(url) => fetch(url).map(Provided::Bytes),
                        Remote::Repository(_) => Err("repositories are not fetched here".into()),
                    };
                    tree.provide(remote, outcome);
                }
            }
        }
    }
}

/// The body of a plain HTTP answer.
fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let rest = url.strip_prefix("http://").ok_or("only http is fetched")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let get = || -> std::io::Result<Vec<u8>> {
        let mut stream = std::net::TcpStream::connect(host)?;
        write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = get().map_err(|error| error.to_string())?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.ok_or("no HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    if !head.contains(" 200 ") {
        return Err(head.lines().next().unwrap_or_default().to_owned());
    }
    Ok(answer[end + 4..].to_vec())
}
