//! Writes the definitions that the program installs into `base/`, where a test compares them.

use std::process::Command;

use anyhow::Result;

pub(crate) fn crds() -> Result<()> {
    let output = Command::new(crate::build_overlayd()?)
        .arg("crds")
        .output()?;
    anyhow::ensure!(output.status.success(), "`overlayd crds` failed");
    Ok(std::fs::write(
        crate::root().join("base/crds.yaml"),
        output.stdout,
    )?)
}
