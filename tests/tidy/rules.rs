//! The rules: each takes files and says where they are broken, so that a test can plant a fault and see it found.

use std::collections::{BTreeMap, BTreeSet};

use crate::lists::Todo;
use crate::measure::{functions, lines_of_code};
use crate::paths::paths;
use crate::source::{PURE_CRATES, Source};
use crate::text::words;

/// A rule answers with one line for each place that breaks it.
pub(crate) type Broken = Vec<String>;

/// The code of a file or function fits into this many lines.
pub(crate) const LONGEST_FILE: usize = 600;
pub(crate) const LONGEST_FUNCTION: usize = 60;

/// Every file says in its first line what it is.
pub(crate) fn heads(sources: &[Source]) -> Broken {
    let headless = sources
        .iter()
        .filter(|source| !source.text.starts_with("//! "));
    headless.map(|source| source.path.clone()).collect()
}

/// A file headed Pure, or of a pure crate, names nothing that touches the world.
pub(crate) fn purity(sources: &[Source]) -> Broken {
    /// Paths that begin so.
    const PATHS: [&str; 21] = [
        "tokio",
        "std::fs",
        "std::env",
        "std::process",
        "std::net::TcpStream",
        "std::net::TcpListener",
        "std::net::UdpSocket",
        "std::os",
        "kube::Api",
        "kube::Client",
        "kube::Config",
        "kube::api",
        "kube::client",
        "kube::runtime",
        "aws_config",
        "aws_credential_types",
        "aws_sdk",
        "aws_smithy",
        "git2",
        "hyper",
        "reqwest",
    ];
    const CODE: [&str; 4] = ["async fn", "async move", ".await", "now()"];
    let mut broken = Broken::new();
    for source in sources.iter().filter(|source| source.is_pure()) {
        for word in CODE {
            for (position, _) in source.code.match_indices(word) {
                broken.push(format!("{}: `{word}`", source.place(position)));
            }
        }
        for path in paths(&source.code) {
            let text = path.text();
            if PATHS.iter().any(|word| text.starts_with(word)) {
                broken.push(format!("{}: `{text}`", source.place(path.position)));
            }
        }
    }
    broken
}

/// Manifests of pure crates, given as path and text, bring nothing that touches the world.
///
/// The manifest of the workspace is among them, for a crate may take a version and features from there.
pub(crate) fn manifests(manifests: &[(String, String)]) -> Broken {
    const NAMES: [&str; 11] = [
        "tokio",
        "aws-config",
        "aws-credential",
        "aws-sdk",
        "aws-smithy",
        "git2",
        "hyper",
        "reqwest",
        "axum",
        "russh",
        "rustls",
    ];
    let mut broken = Broken::new();
    let workspace = manifests.iter().find(|(path, _)| path == "Cargo.toml");
    let workspace = workspace.map_or_else(Vec::new, |(_, text)| dependencies(text));
    for (path, text) in manifests {
        if !PURE_CRATES
            .iter()
            .any(|name| *path == format!("crates/{name}/Cargo.toml"))
        {
            continue;
        }
        for (name, line) in dependencies(text) {
            let inherited = workspace.iter().find(|(of_workspace, inherited)| {
                *of_workspace == name && line.contains("workspace = true") && *inherited != line
            });
            let has_client = name == "kube"
                && (brings_a_client(&line)
                    || !inherited
                        .map_or(&line, |(_, line)| line)
                        .contains("default-features = false")
                    || inherited.is_some_and(|(_, line)| brings_a_client(line)));
            if has_client || NAMES.iter().any(|word| name.starts_with(word)) {
                broken.push(format!("{path}: {line}"));
            }
        }
    }
    broken
}

/// True if a dependency on kube asks for more than its types and derives.
fn brings_a_client(line: &str) -> bool {
    let features = ["\"client\"", "\"config\"", "\"runtime\"", "\"ws\""];
    features.iter().any(|feature| line.contains(feature))
}

/// The dependencies of a manifest but those of tests: name and line.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut is_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            is_dependencies = !section.contains("dev-")
                && (section.ends_with("dependencies") || section.contains("dependencies."));
            if let Some((_, name)) = section.split_once("dependencies.")
                && is_dependencies
            {
                found.push((name.trim_matches('"').to_owned(), line.to_owned()));
            }
        } else if is_dependencies && !line.starts_with('#') {
            let name: String = line
                .chars()
                .take_while(|next| next.is_alphanumeric() || matches!(next, '-' | '_'))
                .collect();
            if !name.is_empty() {
                found.push((name, line.to_owned()));
            }
        }
    }
    found
}

/// A `SecretValue` is opened in few places.
pub(crate) fn secrets(sources: &[Source]) -> Broken {
    const ALLOWED: [&str; 7] = [
        "aws/",
        "cluster/secret_writer.rs",
        "secrets/",
        "git/credentials.rs",
        "git/proxy.rs",
        "git/ssh.rs",
        "git/transport.rs",
    ];
    let mut broken = Broken::new();
    for source in sources {
        let Some(path) = source.path_in_daemon() else {
            continue;
        };
        if ALLOWED.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        for (position, _) in source.code.match_indices(".expose()") {
            broken.push(source.place(position));
        }
    }
    broken
}

/// `unsafe` stands at one place: where the git transport is registered with libgit2.
pub(crate) fn unsafe_code(sources: &[Source]) -> Broken {
    let elsewhere = sources
        .iter()
        .filter(|source| source.path != "src/git/registration.rs");
    let mut broken = Broken::new();
    for source in elsewhere {
        // Tests too.
        let code = crate::text::code(&source.text);
        for (position, _) in words(&code).filter(|(_, word)| *word == "unsafe") {
            broken.push(source.place(position));
        }
    }
    broken
}

/// No test is ignored, and no path of a machine is named, in literals and comments neither.
pub(crate) fn ignored_tests(sources: &[Source]) -> Broken {
    let ignore = ["#[", "ignore"].concat();
    let home = ["/ro", "ot/"].concat();
    let mut broken = Broken::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if line.contains(&ignore) || line.contains(&home) {
                broken.push(format!("{}:{}: {line}", source.path, number + 1));
            }
        }
    }
    broken
}

/// A test waits for a fact and never for a time: a test that sleeps passes when the daemon is slow.
pub(crate) fn sleeps(sources: &[Source]) -> Broken {
    let mut broken = Broken::new();
    for source in sources.iter().filter(|source| {
        source.path.starts_with("tests/") && !source.path.starts_with("tests/tidy")
    }) {
        let code = crate::text::code(&source.text);
        for (position, _) in words(&code).filter(|(_, word)| word.starts_with("sleep")) {
            broken.push(source.place(position));
        }
    }
    broken
}

/// Every file of a test binary is a module of its `main.rs`, or it does not run.
pub(crate) fn unlisted_tests(sources: &[Source]) -> Broken {
    let mut broken = Broken::new();
    for main in sources
        .iter()
        .filter(|source| source.path.starts_with("tests/") && source.path.ends_with("/main.rs"))
    {
        let folder = main.path.trim_end_matches("main.rs");
        for source in sources {
            let Some(name) = source.path.strip_prefix(folder) else {
                continue;
            };
            let name = name.trim_end_matches(".rs").trim_end_matches("/mod");
            if name != "main" && !name.contains('/') && !main.text.contains(&format!("mod {name};"))
            {
                broken.push(source.path.clone());
            }
        }
    }
    broken
}

/// Files of at most [`LONGEST_FILE`] lines of code, but for those that are still to be split.
pub(crate) fn long_files(sources: &[Source], todo: &[Todo]) -> Broken {
    let long = sources.iter().filter_map(|source| {
        let lines = lines_of_code(source);
        (lines > LONGEST_FILE).then(|| (source.key().to_owned(), format!("{lines} lines of code")))
    });
    compare(&long.collect(), todo)
}

/// Functions of at most [`LONGEST_FUNCTION`] lines, but for those that are still to be split.
pub(crate) fn long_functions(sources: &[Source], todo: &[Todo]) -> Broken {
    let mut long = BTreeMap::new();
    for source in sources {
        for function in functions(&source.code) {
            if function.lines > LONGEST_FUNCTION {
                let name = format!("{}::{}", source.key(), function.name);
                long.insert(name, format!("{} lines", function.lines));
            }
        }
    }
    compare(&long, todo)
}

/// No two types of the daemon have the same name, but for those that are still to be renamed.
pub(crate) fn types_of_one_name(sources: &[Source], todo: &[Todo]) -> Broken {
    let mut places: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| source.path_in_daemon().is_some())
    {
        for (position, name) in types(&source.code) {
            places
                .entry(name)
                .or_default()
                .insert(source.place(position));
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    let listed = twice.map(|(name, places)| {
        let places: Vec<String> = places.into_iter().collect();
        (name.to_owned(), places.join(", "))
    });
    compare(&listed.collect(), todo)
}

/// The types that a code defines.
fn types(code: &str) -> Vec<(usize, &str)> {
    let all: Vec<(usize, &str)> = words(code).collect();
    let mut found = Vec::new();
    for pair in all.windows(2) {
        let [(start, keyword), (position, name)] = pair else {
            continue;
        };
        let is_alone = code[start + keyword.len()..*position].trim().is_empty();
        let is_type = matches!(*keyword, "struct" | "enum" | "trait" | "union")
            // An associated type is indented.
            || (*keyword == "type" && code[..*start].rsplit('\n').next().is_some_and(|before| {
                before.is_empty() || before.starts_with("pub")
            }));
        if is_alone && is_type && name.starts_with(char::is_uppercase) {
            found.push((*position, *name));
        }
    }
    found
}

/// Words of our own for what has a name in the field: each with the field's word.
pub(crate) fn private_words(sources: &[Source], todo: &[Todo]) -> Broken {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| source.path_in_daemon().is_some())
    {
        for (position, word, instead) in private(&source.code) {
            let place = source.place(position);
            found
                .entry(word.to_owned())
                .or_insert_with(|| format!("{place}: use {instead}"));
        }
    }
    compare(&found, todo)
}

/// The types, modules and words inside names that are private, with what to use.
fn private(code: &str) -> Vec<(usize, &'static str, &'static str)> {
    let types = types(code);
    let all: Vec<(usize, &str)> = words(code).collect();
    let modules = all.windows(2).filter_map(|pair| {
        let [(_, keyword), (position, name)] = pair else {
            return None;
        };
        (*keyword == "mod").then_some((*position, *name))
    });
    let modules: Vec<(usize, &str)> = modules.collect();
    let mut found = Vec::new();
    for (word, instead) in crate::words::TYPES.iter().chain(&crate::words::MODULES) {
        let definitions = types.iter().chain(&modules);
        let named = definitions.filter(|(_, name)| name == word);
        found.extend(named.map(|(position, _)| (*position, *word, *instead)));
    }
    for (word, instead) in &crate::words::PARTS {
        let named = all
            .iter()
            .filter(|(_, name)| name.to_lowercase().split('_').any(|part| part == *word));
        found.extend(named.map(|(position, _)| (*position, *word, *instead)));
    }
    found
}

/// Modules of one folder form no circle of imports, but in folders that are still to be opened.
pub(crate) fn circles(sources: &[Source], todo: &[Todo]) -> Broken {
    let found = crate::circles::circles(sources).into_iter();
    let named = found.map(|(folder, circles)| {
        let circles = circles.iter().map(|circle| circle.join(" "));
        let text = circles.collect::<Vec<_>>().join("; ");
        // A folder keeps its name when it moves to the core.
        let folder = folder
            .strip_prefix("core")
            .map_or_else(|| folder.clone(), |rest| format!("overlayd{rest}"));
        (folder, text)
    });
    compare(&named.collect(), todo)
}

/// How often the daemon answers with a text where an error type is due.
pub(crate) fn text_errors(sources: &[Source]) -> usize {
    let of_daemon = sources
        .iter()
        .filter(|source| source.path_in_daemon().is_some());
    let count = of_daemon.map(|source| {
        let code: String = source.code.split_whitespace().collect();
        code.match_indices("Result<")
            .filter(|(position, _)| {
                let arguments = &code[position + "Result<".len()..];
                second_argument(arguments)
                    .is_some_and(|error| error.trim_end_matches(',') == "String")
            })
            .count()
    });
    count.sum()
}

/// The second of the arguments in angle brackets that have just been opened.
fn second_argument(arguments: &str) -> Option<&str> {
    let mut depth = 0_i32;
    let mut start = None;
    for (at, character) in arguments.char_indices() {
        match character {
            '<' | '(' | '[' => depth += 1,
            // The arrow of a function's type.
            '>' if arguments[..at].ends_with('-') => {}
            '>' if depth == 0 => return start.map(|start: usize| &arguments[start..at]),
            '>' | ')' | ']' => depth -= 1,
            ',' if depth == 0 => start = start.or(Some(at + 1)),
            ';' | '{' => return None,
            _ => {}
        }
    }
    None
}

/// What breaks a rule and is on no list, and what is on the list and breaks it no more.
fn compare(found: &BTreeMap<String, String>, todo: &[Todo]) -> Broken {
    let mut broken = Broken::new();
    for (name, why) in found {
        if !todo.iter().any(|(listed, _)| listed == name) {
            broken.push(format!("{name}: {why}"));
        }
    }
    for (listed, _) in todo {
        if !found.contains_key(*listed) {
            broken.push(format!(
                "{listed}: done; take it off the list in tests/tidy/lists.rs"
            ));
        }
    }
    broken
}

#[cfg(test)]
mod tests;
