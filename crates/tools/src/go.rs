//! Talks to the machine: tools that are built from Go modules.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cache::key_of;
use crate::progress::count_lines;
use crate::{Progress, Tool, Tools};

/// The files of a Go module of ours.
type Sources = [(&'static str, &'static str); 3];

const CONTROL_PLANE: Sources = [
    ("main.go", include_str!("../controlplane/main.go")),
    ("go.mod", include_str!("../controlplane/go.mod")),
    ("go.sum", include_str!("../controlplane/go.sum")),
];
const ORACLE: Sources = [
    ("main.go", include_str!("../oracle/main.go")),
    ("go.mod", include_str!("../oracle/go.mod")),
    ("go.sum", include_str!("../oracle/go.sum")),
];
/// The version that the control plane reports, as in its `go.mod`.
const KUBERNETES: &str = "v1.36.3";
const KUSTOMIZE: &str = "v5.8.2";
const KWOK: &str = "v0.7.0";

/// What Go makes a tool of.
enum Recipe {
    /// Sources of ours, built under a name that has a hash of them.
    Build {
        name: String,
        sources: Sources,
        linker_flags: String,
    },
    /// A program of a published module.
    Install {
        program: &'static str,
        module: &'static str,
        version: &'static str,
    },
}

impl Recipe {
    fn of(tool: Tool) -> Self {
        match tool {
            Tool::Kustomize => Self::Install {
                program: "kustomize",
                module: "sigs.k8s.io/kustomize/kustomize/v5",
                version: KUSTOMIZE,
            },
            Tool::Kwok => Self::Install {
                program: "kwok",
                module: "sigs.k8s.io/kwok/cmd/kwok",
                version: KWOK,
            },
            Tool::Oracle => Self::Build {
                name: format!("oracle-{}", key_of(ORACLE.map(|(_, text)| text))),
                sources: ORACLE,
                linker_flags: String::new(),
            },
            _ => {
                let texts = CONTROL_PLANE.iter().map(|(_, text)| *text);
                let key = key_of(texts.chain([KUBERNETES]));
                Self::Build {
                    name: format!("controlplane-{KUBERNETES}-{key}"),
                    sources: CONTROL_PLANE,
                    linker_flags: version_flags(),
                }
            }
        }
    }
}

/// The flags by which the API server knows its version, which `go build` does not give it.
fn version_flags() -> String {
    let mut parts = KUBERNETES.trim_start_matches('v').split('.');
    let mut part = || parts.next().unwrap_or_default();
    let (major, minor) = (part(), part());
    let package = "k8s.io/component-base/version";
    format!(
        "-X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}

impl Tools {
    pub(crate) fn go_path(&self, tool: Tool) -> PathBuf {
        match Recipe::of(tool) {
            Recipe::Build { name, .. } => self.directory.join(name),
            Recipe::Install {
                program, version, ..
            } => self
                .directory
                .join(format!("{program}-{version}"))
                .join(program),
        }
    }

    pub(crate) fn install_with_go(&self, tool: Tool) -> Result<()> {
        match Recipe::of(tool) {
            Recipe::Build {
                name,
                sources,
                linker_flags,
            } => self.go_build(tool, &name, &sources, &linker_flags),
            Recipe::Install {
                program,
                module,
                version,
            } => {
                let progress =
                    Progress::start(&format!("installing {program} {version} from Go modules"));
                let mut go = go();
                go.args(["install", "-v", &format!("{module}@{version}")])
                    .env("GOBIN", self.directory.join(format!("{program}-{version}")));
                progress.run_counting(&mut go, &self.log(program), |output| {
                    format!("{} packages", packages(output))
                })?;
                progress.done();
                Ok(())
            }
        }
    }

    fn go_build(&self, tool: Tool, name: &str, sources: &Sources, flags: &str) -> Result<()> {
        let folder = self.directory.join(format!("{name}-src"));
        std::fs::create_dir_all(&folder)?;
        for (file, text) in sources {
            std::fs::write(folder.join(file), text)?;
        }
        let total = self.go_download(tool, name, &folder)?;
        let progress = Progress::start(&format!(
            "building {} from {total} Go packages",
            tool.name()
        ));
        // A name of its own, so that an interrupted build never leaves half a binary in the tool's place.
        let unfinished = self.directory.join(format!("{name}.part"));
        let mut go = go();
        go.current_dir(&folder)
            .args(["build", "-v", "-trimpath", "-ldflags"])
            .arg(format!("-s -w {flags}"))
            .arg("-o")
            .arg(&unfinished)
            .arg(".");
        progress.run_counting(&mut go, &self.log(name), |output| {
            format!("{} of {total} packages", packages(output))
        })?;
        std::fs::rename(&unfinished, self.directory.join(name))?;
        progress.done();
        Ok(())
    }

    /// Downloads what a build needs, and says of how many packages it is made.
    fn go_download(&self, tool: Tool, name: &str, folder: &Path) -> Result<usize> {
        let progress = Progress::start(&format!("downloading the Go modules of {}", tool.name()));
        let log = self.log(&format!("{name}-modules"));
        let mut go = go();
        go.current_dir(folder).args(["list", "-deps", "."]);
        progress.run_counting(&mut go, &log, |output| {
            count_lines(output, "go: ", "module")
        })?;
        progress.done();
        Ok(packages(&std::fs::read_to_string(&log)?))
    }
}

/// Go, whose compiler and linker collect garbage less often unless the user has decided otherwise: they then take a fifth
/// less CPU. The limit keeps the linker of the control plane from taking all memory of a small machine.
fn go() -> Command {
    let mut go = Command::new("go");
    for (name, value) in [("GOGC", "400"), ("GOMEMLIMIT", "2GiB")] {
        if std::env::var_os(name).is_none() {
            go.env(name, value);
        }
    }
    go
}

/// How many packages Go has named, a line each; its messages begin with `go: `.
fn packages(output: &str) -> usize {
    let lines = output.lines().filter(|line| !line.starts_with("go: "));
    lines.count()
}
