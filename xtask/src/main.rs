//! overlayd's own commands: builds what a command needs, at the same time and with progress, and runs it.
//!
//! The work itself is done by `crates/devtools`, which needs the cluster's client and is as large as the daemon. This
//! program is small: it is compiled in seconds, so that a user sees at once what is being done.
// A cut at a byte inside a letter panics.
#![warn(clippy::string_slice)]

mod check;
mod command;
mod prepare;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tools::{Tool, Tools, say};

use command::run_instead_of_us;
use prepare::{Binary, prepare, program};

const HELP: &str = "\
Usage: cargo xtask COMMAND [ARGUMENTS]

  demo         shows the main job on a real local control plane: a commit becomes a Secret
  test         runs every test: units, golden cases, cluster tests, AWS, the demo
  oracle       asks kustomize and Go's packages, and compares their answers with ours
  bench        measures overlayd and its peers in one run
  crds         writes the custom resource definitions into base/
  setup-eks    creates the AWS side for EKS: Pod Identity add-on, role, policy, association
  test-secret  writes a new value into AWS and waits until the Secret db-creds follows

  tools        builds and installs every tool that the other commands may need
  check-alone  compiles each pure crate without the rest of the workspace
  check-fuzz   compiles the fuzz targets
  just         runs just, which is installed if it is missing
  deny         runs cargo-deny, which is installed if it is missing
  typos        runs the spell check, which is installed if it is missing

`cargo xtask COMMAND --help` shows the arguments of a command.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let result = dispatch(&command.to_string_lossy(), &arguments.collect::<Vec<_>>());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, arguments: &[OsString]) -> Result<()> {
    match command {
        "demo" | "oracle" | "bench" | "setup-eks" | "test-secret" => {
            prepare(&Binary::of(command), &tools_of(command, arguments))?;
            let mut devtools = program(Binary::Devtools)?;
            run_instead_of_us(devtools.arg(command).args(arguments))
        }
        "test" => test::test(),
        "crds" => crds(),
        "tools" => prepare(&[], &test::TOOLS),
        "check-alone" => check::pure_crates_alone(),
        "check-fuzz" => check::fuzz_targets(),
        "just" => run_instead_of_us(command::tool(Tool::Just)?.args(arguments)),
        "typos" => run_instead_of_us(command::tool(Tool::Typos)?.args(arguments)),
        "deny" => {
            let mut deny = command::tool(Tool::CargoDeny)?;
            run_instead_of_us(deny.arg("--workspace").args(arguments))
        }
        "" | "help" | "--help" | "-h" => {
            say(HELP);
            Ok(())
        }
        other => anyhow::bail!("`{other}` is not a command\n\n{HELP}"),
    }
}

/// The tools that a command needs with these arguments. Whatever is not foreseen here is installed by the command itself,
/// only later and not at the same time as other things.
fn tools_of(command: &str, arguments: &[OsString]) -> Vec<Tool> {
    let has = |word: &str| {
        arguments
            .iter()
            .any(|argument| argument.to_string_lossy().split('=').next() == Some(word))
    };
    if has("--help") || has("-h") {
        return Vec::new();
    }
    let control_plane = |wanted: bool| {
        let ours = wanted && std::env::var_os("KUBEBUILDER_ASSETS").is_none();
        ours.then_some(Tool::ControlPlane)
    };
    match command {
        "demo" => control_plane(!has("--kubeconfig"))
            .into_iter()
            .chain([Tool::Moto])
            .collect(),
        "oracle" if has("templates") || has("paths") || has("values") => vec![Tool::Oracle],
        "oracle" => vec![Tool::Kustomize],
        "bench" if has("build") => vec![Tool::Kustomize],
        "bench" => control_plane(true)
            .into_iter()
            .chain(has("secrets").then_some(Tool::Moto))
            .collect(),
        _ => Vec::new(),
    }
}

/// Writes the definitions that the program installs into `base/`, where a test compares them.
fn crds() -> Result<()> {
    prepare(&[Binary::Daemon], &[])?;
    let output = program(Binary::Daemon)?.arg("crds").output()?;
    anyhow::ensure!(output.status.success(), "`overlayd crds` failed");
    let file = command::root().join("base/crds.yaml");
    std::fs::write(&file, output.stdout).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_prepares_only_what_it_needs() {
        let tools = |command: &str, arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            tools_of(command, &arguments)
        };
        assert_eq!(tools("demo", &["--kubeconfig=f"]), [Tool::Moto]);
        assert_eq!(tools("demo", &["--kubeconfig", "f"]), [Tool::Moto]);
        assert_eq!(tools("demo", &["--help"]), []);
        assert_eq!(tools("oracle", &["--record"]), [Tool::Kustomize]);
        assert_eq!(tools("oracle", &["values"]), [Tool::Oracle]);
        assert_eq!(tools("setup-eks", &["--dry-run"]), []);
    }
}
