//! `cargo xtask test`: builds everything that the tests need, then runs every test, then the demo.

use std::time::Instant;

use anyhow::Result;
use tools::say;

use crate::command::{cargo, run};
use crate::prepare::{Binary, prepare_with, program};
use crate::{Tool, Tools};

/// What the tests need. The control plane is first, since its build is the longest.
pub(crate) const TOOLS: [Tool; 7] = [
    Tool::ControlPlane,
    Tool::Kwok,
    Tool::Kustomize,
    Tool::Moto,
    Tool::AwsCli,
    Tool::Just,
    Tool::OpenSsh,
];

/// The tools that tests need on this machine.
fn tools() -> Result<Vec<Tool>> {
    let cache = Tools::open()?;
    let prebuilt = std::env::var_os("KUBEBUILDER_ASSETS").is_some();
    let needed = TOOLS.into_iter().filter(|tool| match tool {
        Tool::ControlPlane => !prebuilt,
        // The tests over ssh say so and are skipped where there are no packages of Debian.
        Tool::OpenSsh => cache.has_sshd(),
        _ => true,
    });
    Ok(needed.collect())
}

/// Runs every test, and then the demo from the same build.
pub(crate) fn test() -> Result<()> {
    let started = Instant::now();
    let build = cargo(&["test", "--workspace", "--no-run"]);
    prepare_with(Some(("the tests".to_owned(), build)), &tools()?)?;
    say("… units, golden cases, command line, cluster and AWS tests");
    run(&mut cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    say("… the demo");
    run(program(Binary::Devtools)?.args(["demo", "--once"]))?;
    let elapsed = started.elapsed().as_secs();
    say(&format!("✓ all tests passed ({elapsed} s)"));
    Ok(())
}
