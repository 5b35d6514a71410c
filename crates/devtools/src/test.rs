//! `cargo xtask test`: everything.

use std::time::Instant;

use anyhow::Result;
use testbed::{Tools, say};

pub(crate) fn test() -> Result<()> {
    let started = Instant::now();
    // Built before the tests, where progress can be seen.
    let tools = Tools::open()?;
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        tools.control_plane()?;
    }
    tools.kustomize()?;
    tools.need(testbed::Tool::Moto)?;
    say("… units, golden cases, command line, cluster and AWS tests");
    crate::run(&mut crate::cargo(&[
        "test",
        "--workspace",
        "--no-fail-fast",
    ]))?;
    say("… the demo");
    crate::demo::demo(&crate::demo::DemoArgs::once())?;
    say(&format!(
        "✓ all tests passed ({} s)",
        started.elapsed().as_secs()
    ));
    Ok(())
}
