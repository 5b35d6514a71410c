//! `overlayd migrate`: `check` tells what overlayd would do with everything that Flux and External Secrets have in a cluster
//! or a repository, and changes nothing; `flux` and `eso` stop a peer, and start it again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use overlayd_core::apply::peers::Peer;
use overlayd_core::migrate::{Finding, MigrationVerdict, credentials, gravest, judge, steps};
use serde_json::{Value, json};

use crate::cli::args::{
    MigrateArgs, MigrateCheckArgs, MigrateCommand, MigrateStepsArgs, ReportForm,
};
use crate::cli::report::Failure;
use crate::cli::{cluster, output};
use crate::cluster::{migration, survey};

/// What a check found. The rest is for people and pipelines to know, and decides nothing.
#[derive(Debug, Default)]
struct CheckReport {
    findings: Vec<Finding>,
    /// Secrets from which sources and stores take their credentials, as `namespace/name`.
    credentials: Vec<String>,
    /// Other facts, one sentence for each.
    notes: Vec<String>,
}

pub(super) async fn migrate(args: MigrateArgs) -> Result<MigrationVerdict, Failure> {
    match args.command {
        MigrateCommand::Check(args) => check(&args).await,
        MigrateCommand::Flux(args) => move_from(Peer::Flux, &args).await,
        MigrateCommand::Eso(args) => move_from(Peer::ExternalSecrets, &args).await,
    }
}

/// Prints the steps from a peer or back to it, then takes them.
async fn move_from(peer: Peer, args: &MigrateStepsArgs) -> Result<MigrationVerdict, Failure> {
    let client = cluster::connect(&args.cluster).await?;
    let unreadable = |error: survey::SurveyError| {
        Failure::new("cannot read what the peers have in the cluster")
            .because(error.to_string(), None)
    };
    let found = survey::take(client.clone()).await.map_err(unreadable)?;
    let steps = if args.back {
        steps::back(peer, &found.objects)
    } else {
        steps::forward(peer, &found.definitions, &found.objects)
    };
    let lines = steps.iter().map(|step| format!("{step}\n"));
    output::write(&lines.collect::<String>())?;
    if steps.is_empty() {
        output::note("nothing is to be done");
    }
    if args.dry_run {
        return Ok(MigrationVerdict::Served);
    }
    for step in &steps {
        migration::take(&client, step).await.map_err(|error| {
            Failure::new(format!("cannot {step}")).because(
                error.to_string(),
                Some("repeat the command; what was done is not done again"),
            )
        })?;
    }
    Ok(MigrationVerdict::Served)
}

async fn check(args: &MigrateCheckArgs) -> Result<MigrationVerdict, Failure> {
    let mut report = match &args.directory {
        Some(directory) => of_directory(directory)?,
        None => of_cluster(args).await?,
    };
    report.point_to_permissions();
    report.sort();
    let text = match args.output {
        ReportForm::Text => report.text(),
        ReportForm::Json => format!("{:#}\n", report.to_json()),
    };
    output::write(&text)?;
    Ok(gravest(&report.findings))
}

async fn of_cluster(args: &MigrateCheckArgs) -> Result<CheckReport, Failure> {
    let client = cluster::connect(&args.cluster).await?;
    let survey = survey::take(client).await.map_err(|error| {
        Failure::new("cannot read what the peers have in the cluster")
            .because(error.to_string(), None)
    })?;
    let mut report = CheckReport {
        findings: survey.findings,
        notes: survey.notes,
        ..CheckReport::default()
    };
    for object in &survey.objects {
        report.add(object, None);
    }
    Ok(report)
}

/// The manifests of all YAML files below a directory. Other documents are left out: a repository holds templates and
/// settings too.
fn of_directory(directory: &str) -> Result<CheckReport, Failure> {
    let mut report = CheckReport::default();
    let root = Path::new(directory);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = |error: std::io::Error| {
            Failure::new(format!("cannot read `{}`", folder.display()))
                .because(error.to_string(), None)
        };
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && name != ".git" {
                folders.push(path);
            } else if kind.is_file() && is_yaml(&path) {
                let text = std::fs::read_to_string(&path).map_err(unreadable)?;
                let file = path.strip_prefix(root).unwrap_or(&path);
                report.add_file(&file.display().to_string(), &text);
            }
        }
    }
    Ok(report)
}

fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml"))
}

impl CheckReport {
    fn add_file(&mut self, file: &str, text: &str) {
        let Ok(nodes) = goyaml::read(text, &goyaml::ReadOptions::sigs()) else {
            self.notes
                .push(format!("`{file}` is no YAML and was left out"));
            return;
        };
        for manifest in nodes.iter().filter_map(|node| goyaml::to_json(node).ok()) {
            self.add(&manifest, Some(file));
        }
    }

    fn add(&mut self, manifest: &Value, file: Option<&str>) {
        if manifest["kind"] == "List" {
            for item in manifest["items"].as_array().into_iter().flatten() {
                self.add(item, file);
            }
            return;
        }
        let Some(finding) = judge(manifest) else {
            return;
        };
        self.credentials.extend(credentials(manifest));
        self.findings.push(Finding {
            file: file.map(str::to_owned),
            ..finding
        });
    }

    /// What the stores may read is a question to AWS, which another command asks.
    fn point_to_permissions(&mut self) {
        let mut kinds = self.findings.iter().map(|finding| &finding.object.kind);
        if kinds.any(|kind| kind.ends_with("SecretStore")) {
            let note = "`overlayd iam --check` tries the rights in AWS, also those for KMS keys, that the stores need";
            self.notes.push(note.to_owned());
        }
    }

    fn sort(&mut self) {
        let key = |finding: &Finding| (finding.object.clone(), finding.file.clone());
        self.findings.sort_by_key(key);
        self.credentials.sort();
        self.credentials.dedup();
        self.notes.sort();
    }

    fn of(&self, verdict: MigrationVerdict) -> Vec<&Finding> {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.verdict == verdict)
            .collect()
    }

    /// What is served as it is is counted; everything else is listed.
    fn text(&self) -> String {
        let mut text = String::new();
        for verdict in MigrationVerdict::ALL {
            let findings = self.of(verdict);
            if findings.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{} ({})", verdict.heading(), findings.len());
            if verdict == MigrationVerdict::Served {
                let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
                for finding in findings {
                    *kinds.entry(&finding.object.kind).or_default() += 1;
                }
                for (kind, count) in kinds {
                    let _ = writeln!(text, "  {count} {kind}");
                }
                continue;
            }
            for finding in findings {
                let file = finding.file.as_ref();
                let file = file.map_or(String::new(), |file| format!(" in `{file}`"));
                let _ = writeln!(text, "  {}{file}: {}", finding.object, finding.reason);
            }
        }
        if !self.credentials.is_empty() {
            let count = self.credentials.len();
            let _ = writeln!(text, "Secrets with credentials, which must stay ({count})");
        }
        for name in &self.credentials {
            let _ = writeln!(text, "  {name}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        if self.findings.is_empty() {
            text.push_str("nothing of Flux or External Secrets was found\n");
        }
        text
    }

    fn to_json(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(finding_to_json).collect();
        let counts: BTreeMap<&str, usize> = MigrationVerdict::ALL
            .iter()
            .map(|verdict| (verdict.word(), self.of(*verdict).len()))
            .collect();
        json!({
            "findings": findings,
            "counts": counts,
            "credentials": self.credentials,
            "notes": self.notes,
        })
    }
}

fn finding_to_json(finding: &Finding) -> Value {
    let object = &finding.object;
    json!({
        "apiVersion": object.api_version(),
        "kind": object.kind,
        "namespace": object.namespace,
        "name": object.name,
        "file": finding.file,
        "verdict": finding.verdict.word(),
        "reason": finding.reason,
    })
}
