//! Asks Go's own packages about templates, paths and values.
//!
//! The oracle is a small Go program (`crates/tools/oracle`) that is built once. It reads a question per line as JSON
//! and answers in the same order. Questions of templates have the data with them, so the program keeps no state.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testbed::{Tool, Tools, say};

use super::{OracleArgs, short_hash};

/// The answers to questions, in their order.
fn ask(questions: impl IntoIterator<Item = Value>) -> Result<Vec<String>> {
    let mut child = Command::new(Tools::open()?.need(Tool::Oracle)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the oracle")?;
    let mut text = String::new();
    for question in questions {
        writeln!(text, "{question}")?;
    }
    let mut input = child.stdin.take().context("a pipe")?;
    // The oracle answers before it has read all questions, so the answers are read at the same time.
    let asking = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = BufReader::new(child.stdout.take().context("a pipe")?);
    let answers = output.lines().collect::<Result<Vec<_>, _>>()?;
    asking
        .join()
        .map_err(|_| anyhow::anyhow!("the questions could not be asked"))??;
    ensure!(child.wait()?.success(), "the oracle failed");
    Ok(answers)
}

/// Asks for every template of the corpus again.
pub(super) fn templates(record: bool) -> Result<()> {
    let folder = crate::root().join("crates/gotemplate/tests");
    let data: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("data.json"))?)?;
    let corpus = std::fs::read_to_string(folder.join("corpus.txt"))?;
    let questions = corpus
        .lines()
        .map(|line| Ok(json!({"template": serde_json::from_str::<String>(line)?, "data": data})));
    let answers = ask(questions.collect::<Result<Vec<_>>>()?)?;
    keep(&answers, corpus.lines().count(), &folder, record)
}

/// Asks for every path of the corpus again.
pub(super) fn paths(record: bool) -> Result<()> {
    let folder = crate::root().join("crates/gjson/tests");
    let texts: Vec<String> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("texts.json"))?)?;
    let corpus = std::fs::read_to_string(folder.join("paths.txt"))?;
    let questions = corpus.lines().map(|line| {
        let (number, path) = line.split_once(' ').context("a number and a path")?;
        let text = texts.get(number.parse::<usize>()?).context("a text")?;
        Ok(json!({"text": text, "path": path}))
    });
    let answers = ask(questions.collect::<Result<Vec<_>>>()?)?;
    keep(&answers, corpus.lines().count(), &folder, record)
}

/// Compares answers with those that are recorded, or records them.
fn keep(answers: &[String], questions: usize, folder: &Path, record: bool) -> Result<()> {
    ensure!(answers.len() == questions, "{} answers", answers.len());
    let path = folder.join("answers.jsonl");
    if record {
        return Ok(std::fs::write(path, answers.join("\n") + "\n")?);
    }
    let recorded = std::fs::read_to_string(&path)?;
    let pairs = answers.iter().zip(recorded.lines());
    let changed = pairs.filter(|(now, then)| now != then).count();
    say(&format!(
        "{questions} questions; {changed} recorded answers are others now"
    ));
    ensure!(
        changed == 0,
        "{changed} answers changed; --record keeps them"
    );
    Ok(())
}

/// Compares how generated values are printed.
pub(super) fn values(args: &OracleArgs) -> Result<()> {
    let seeds = args.seed..args.seed + args.generated.max(1);
    let values: Vec<(u64, Value)> = seeds
        .map(|seed| (seed, crate::values::value(seed)))
        .collect();
    let answers = ask(values.iter().map(|(_, value)| json!({"value": value})))?;
    let (mut lines, mut different) = (String::new(), 0);
    for ((seed, value), answer) in values.iter().zip(answers) {
        let answer: Value = serde_json::from_str(&answer)?;
        let theirs = answer["out"]
            .as_str()
            .with_context(|| format!("seed {seed}: Go does not print {value}: {answer}"))?;
        let ours = goyaml::print(&goyaml::from_json(value))?;
        writeln!(lines, "{seed} {}", short_hash(theirs))?;
        if ours != theirs {
            different += 1;
            say(&format!(
                "DIFFERENT seed {seed}\n--- value\n{value}\n--- Go\n{theirs}--- ours\n{ours}"
            ));
        }
    }
    if args.record {
        let path = crate::root().join("crates/goyaml/tests/printed.txt");
        std::fs::write(path, lines)?;
    }
    ensure!(
        different == 0,
        "{different} of {} values are printed otherwise",
        values.len()
    );
    say(&format!("✓ {} values are printed as Go does", values.len()));
    Ok(())
}
