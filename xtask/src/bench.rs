//! `cargo xtask bench`: `overlayd build` beside `kustomize build` on the same generated trees, in one run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::{Tools, say};

/// How often each program builds each tree.
const RUNS: usize = 5;

/// Which trees.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Numbers of objects.
    #[arg(default_values_t = [10, 100, 1000])]
    sizes: Vec<usize>,
}

pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    let kustomize = Tools::open()?.kustomize()?;
    crate::run(&mut crate::cargo(&[
        "build",
        "--release",
        "--bin",
        "overlayd",
    ]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::root().join("target"), Into::into);
    let overlayd = target.join("release/overlayd");
    say("median of 5 whole processes; machines are noisy, so read the ratio");
    say("objects   overlayd  kustomize   ratio");
    for &size in &args.sizes {
        let directory = tempfile::tempdir()?;
        generate(directory.path(), size)?;
        let overlay = directory.path().join("overlay");
        ensure!(
            output(&overlayd, &overlay)? == output(&kustomize, &overlay)?,
            "the two outputs differ at {size} objects"
        );
        let (ours, theirs) = (median(&overlayd, &overlay)?, median(&kustomize, &overlay)?);
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        let (ours, theirs) = (ours.as_secs_f64() * 1e3, theirs.as_secs_f64() * 1e3);
        say(&format!(
            "{size:7} {ours:8.1} ms {theirs:8.1} ms {ratio:6.1}×"
        ));
    }
    Ok(())
}

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

fn median(program: &Path, overlay: &Path) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let status = Command::new(program)
            .arg("build")
            .arg(overlay)
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "{} failed", program.display());
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[RUNS / 2])
}

/// A base of Deployments, Services and ConfigMaps that refer to each other, and an overlay that touches them all.
fn generate(directory: &Path, objects: usize) -> Result<()> {
    let mut manifests = String::new();
    for app in 0..objects.div_ceil(3) {
        write!(
            manifests,
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-{app}\nspec:\n  replicas: 1\n  selector:\n    matchLabels:\n      app: app-{app}\n  \
             template:\n    metadata:\n      labels:\n        app: app-{app}\n    spec:\n      containers:\n      - name: main\n        image: app:1.0\n        \
             envFrom:\n        - configMapRef:\n            name: conf-{app}\n---\napiVersion: v1\nkind: Service\nmetadata:\n  name: app-{app}\nspec:\n  selector:\n    \
             app: app-{app}\n  ports:\n  - port: 80\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: conf-{app}\ndata:\n  key: value-{app}\n---\n"
        )?;
    }
    let write = |path: &str, text: &str| -> Result<()> {
        let file = directory.join(path);
        file.parent().map(std::fs::create_dir_all).transpose()?;
        Ok(std::fs::write(file, text)?)
    };
    write("base/all.yaml", &manifests)?;
    write("base/kustomization.yaml", "resources: [all.yaml]\n")?;
    write(
        "overlay/kustomization.yaml",
        "namespace: team\nnamePrefix: prod-\nresources: [../base]\nlabels:\n- pairs: {team: a}\n  includeSelectors: true\n\
         commonAnnotations: {note: bench}\nimages: [{name: app, newTag: '2.0'}]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    \
         - {op: replace, path: /spec/replicas, value: 3}\n- patch: |\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: app-0}\n    \
         spec: {template: {spec: {containers: [{name: main, resources: {limits: {memory: 1Gi}}}]}}}\n",
    )
}
