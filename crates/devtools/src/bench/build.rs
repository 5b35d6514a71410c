//! `overlayd build`, `kustomize build` and goyaml alone on the same generated trees, in one run.
//!
//! goyaml alone reads and prints the files of the base and does nothing else, so it is the floor of any build.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Tools, say};

use super::process::{Run, median};

/// Which trees.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// Numbers of objects.
    #[arg(default_values_t = [10, 100, 1000, 5000, 20000])]
    sizes: Vec<usize>,
    /// kustomize's time grows with the square of the tree: above so many objects it is left out.
    #[arg(long, default_value_t = 1000)]
    peer_up_to: usize,
}

pub(super) fn build(args: &BuildArgs) -> Result<()> {
    let kustomize = Tools::open()?.kustomize()?;
    for build in [
        &["build", "--release", "--bin", "overlayd"][..],
        &[
            "build",
            "--release",
            "--package",
            "goyaml",
            "--example",
            "roundtrip",
        ],
    ] {
        crate::run(&mut crate::cargo(build))?;
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::root().join("target"), PathBuf::from);
    let overlayd = target.join("release/overlayd");
    let floor = target.join("release/examples/roundtrip");
    say("medians of whole processes; machines are noisy, so read the ratios");
    say("objects   overlayd           floor              × floor   kustomize           × faster");
    let mut before: Option<(usize, Duration)> = None;
    for &size in &args.sizes {
        let directory = tempfile::tempdir()?;
        let files = generate(directory.path(), size)?;
        let overlay = directory.path().join("overlay");
        let build = |program: &Path| {
            let mut command = Command::new(program);
            command.arg("build").arg(&overlay);
            command
        };
        let runs = if size > 5000 { 3 } else { 9 };
        let ours = median(runs, || build(&overlayd))?;
        let least = median(runs, || {
            let mut command = Command::new(&floor);
            command.args(&files);
            command
        })?;
        let peer = if size <= args.peer_up_to {
            ensure!(
                output(&overlayd, &overlay)? == output(&kustomize, &overlay)?,
                "the two outputs differ at {size} objects"
            );
            let runs = if size >= 5000 { 1 } else { 3 };
            Some(median(runs, || build(&kustomize))?)
        } else {
            None
        };
        say(&row(size, ours, least, peer));
        if let Some((earlier, wall)) = before {
            say(&format!(
                "          {:.1} × the objects, {:.1} × the time",
                ratio(size, earlier),
                ours.wall.as_secs_f64() / wall.as_secs_f64()
            ));
        }
        before = Some((size, ours.wall));
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of objects are far below 2^52"
)]
/// How many times as large the first number is.
fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b as f64
}

fn row(size: usize, ours: Run, least: Run, peer: Option<Run>) -> String {
    let show = |run: Run| {
        format!(
            "{:8.1} ms {:4} MiB",
            run.wall.as_secs_f64() * 1e3,
            run.peak / 1024
        )
    };
    let peer = peer.map_or_else(String::new, |peer| {
        let faster = peer.wall.as_secs_f64() / ours.wall.as_secs_f64();
        format!("{} {faster:8.1}", show(peer))
    });
    format!(
        "{size:7} {} {} {:9.1}   {peer}",
        show(ours),
        show(least),
        ours.wall.as_secs_f64() / least.wall.as_secs_f64(),
    )
}

/// What a program builds, to compare the outputs before the times.
fn output(program: &Path, overlay: &Path) -> Result<Vec<u8>> {
    let output = Command::new(program).arg("build").arg(overlay).output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// A base of apps of five objects each that refer to each other, a file per app, and an overlay that touches them
/// all. Gives the files of the base.
fn generate(directory: &Path, objects: usize) -> Result<Vec<PathBuf>> {
    let write = |path: &str, text: &str| -> Result<PathBuf> {
        let file = directory.join(path);
        file.parent().map(std::fs::create_dir_all).transpose()?;
        std::fs::write(&file, text)?;
        Ok(file)
    };
    let mut files = Vec::new();
    let mut resources = "resources:\n".to_owned();
    let (mut patches, mut generators) = (String::new(), "configMapGenerator:\n".to_owned());
    for app in 0..objects.div_ceil(5) {
        files.push(write(&format!("base/app-{app}.yaml"), &manifests(app))?);
        writeln!(resources, "- app-{app}.yaml")?;
        if app % 10 == 0 {
            write!(
                patches,
                "- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {{name: app-{app}}}\n    \
                 spec: {{template: {{spec: {{containers: [{{name: main, resources: {{limits: {{memory: 1Gi}}}}}}]}}}}}}\n"
            )?;
            writeln!(
                generators,
                "- {{name: extra-{app}, literals: [mode=fast, app=app-{app}]}}"
            )?;
        }
    }
    write("base/kustomization.yaml", &resources)?;
    write(
        "overlay/kustomization.yaml",
        &format!(
            "namespace: team\nnamePrefix: prod-\nresources: [../base]\nlabels:\n- pairs: {{team: a}}\n  includeSelectors: true\n\
             commonAnnotations: {{note: bench}}\nimages:\n- {{name: registry.example.com/app, newTag: '2.0'}}\n{generators}patches:\n\
             - target: {{kind: Deployment}}\n  patch: |-\n    - {{op: replace, path: /spec/replicas, value: 3}}\n{patches}"
        ),
    )?;
    Ok(files)
}

/// The objects of one app. Apps of one ten share a ConfigMap.
fn manifests(app: usize) -> String {
    include_str!("app.yaml")
        .replace("{app}", &app.to_string())
        .replace("{extra}", &(app - app % 10).to_string())
}
