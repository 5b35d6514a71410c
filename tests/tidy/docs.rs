//! The rules of the documents: tables have complete rows, and what a document names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::rules::Broken;
use crate::source::{Source, root};
use crate::{SOURCES, check};

/// A document of the repository.
struct Document {
    /// From the root of the repository.
    path: String,
    /// The text without code blocks. Each line keeps its number.
    text: String,
}

/// A row of a table, with the cells in the order of the columns.
struct Row {
    line: usize,
    header: Vec<String>,
    cells: Vec<String>,
}

impl Document {
    fn new(path: &str, text: &str) -> Self {
        let mut is_code = false;
        let outside = |line| {
            let fence = str::trim_start(line).starts_with("```");
            is_code ^= fence;
            if is_code || fence { "" } else { line }
        };
        Self {
            path: path.to_owned(),
            text: text.lines().map(outside).collect::<Vec<_>>().join("\n"),
        }
    }

    /// Reads every Markdown file at the root and below `docs/`.
    fn repository() -> Vec<Self> {
        let mut files = Vec::new();
        for (folder, below) in [("", false), ("docs", true)] {
            markdown(&root().join(folder), below, &mut files);
        }
        files.sort();
        let read = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(&path).expect("a document is text");
            let path = path.strip_prefix(root()).expect("below the root");
            Self::new(&path.display().to_string(), &text)
        };
        files.into_iter().map(read).collect()
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// Returns the rows of all tables, and what is wrong with the form of the tables.
    fn rows(&self) -> (Vec<Row>, Broken) {
        let (mut rows, mut broken) = (Vec::new(), Broken::new());
        let mut header: Option<Vec<String>> = None;
        let lines: Vec<&str> = self.text.lines().collect();
        for (line, text) in self.lines() {
            let place = format!("{}:{line}", self.path);
            let Some(cells) = cells(text) else {
                header = None;
                continue;
            };
            let Some(columns) = &header else {
                let next = lines.get(line).and_then(|next| self::cells(next));
                if next.is_none_or(|next| !is_separator(&next)) {
                    broken.push(format!(
                        "{place}: a table needs a header and a line of `---`"
                    ));
                }
                header = Some(cells);
                continue;
            };
            if columns.len() != cells.len() {
                broken.push(format!(
                    "{place}: {} cells, and the header has {}",
                    cells.len(),
                    columns.len()
                ));
            } else if !is_separator(&cells) {
                rows.push(Row {
                    line,
                    header: columns.clone(),
                    cells,
                });
            }
        }
        (rows, broken)
    }

    /// Returns the texts between backquotes, with their lines.
    fn quoted(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().flat_map(|(line, text)| {
            let quotes = text.split('`').skip(1).step_by(2);
            quotes.map(move |quote| (line, quote))
        })
    }
}

fn markdown(folder: &Path, below: bool, files: &mut Vec<std::path::PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("a folder of ours");
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && below {
            markdown(&path, below, files);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
}

/// Returns the cells of a line of a table. A `|` between backquotes, or after `\`, separates no cells.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let (mut cells, mut is_quoted, mut before) = (vec![String::new()], false, ' ');
    for letter in inner.chars() {
        is_quoted ^= letter == '`';
        if letter == '|' && !is_quoted && before != '\\' {
            cells.push(String::new());
        } else if let Some(cell) = cells.last_mut() {
            cell.push(letter);
        }
        before = letter;
    }
    Some(cells.iter().map(|cell| cell.trim().to_owned()).collect())
}

fn is_separator(cells: &[String]) -> bool {
    cells
        .iter()
        .all(|cell| cell.contains('-') && cell.chars().all(|letter| matches!(letter, '-' | ':')))
}

/// The test functions of the repository, with the files and folders in which they are.
struct Tests(BTreeMap<String, BTreeSet<String>>);

impl Tests {
    fn of(sources: &[Source]) -> Self {
        let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in sources {
            for name in test_functions(&source.text) {
                let parts = source.path.trim_end_matches(".rs").split('/');
                let places = tests.entry(name.to_owned()).or_default();
                places.extend(parts.map(str::to_owned));
            }
        }
        Self(tests)
    }

    /// True for `place::function`, where the place is a file, without `.rs`, or a folder above it.
    fn has(&self, name: &str) -> bool {
        name.rsplit_once("::").is_some_and(|(place, function)| {
            let places = self.0.get(function);
            places.is_some_and(|places| places.contains(place))
        })
    }
}

/// Returns the names of the functions that have an attribute such as `#[test]` or `#[tokio::test(…)]`.
fn test_functions(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("fn ")
        .filter_map(move |(position, word)| {
            let before = &text[..position];
            let start = before.rfind(['{', '}', ';']).map_or(0, |end| end + 1);
            let attributes = &before[start..];
            let is_test = attributes.contains("#[test]") || attributes.contains("::test");
            let name = text[position + word.len()..].split(['(', '<']).next()?;
            is_test.then_some(name)
        })
}

/// Rows of tables have as many cells as their header.
fn tables(documents: &[Document]) -> Broken {
    documents
        .iter()
        .flat_map(|document| document.rows().1)
        .collect()
}

/// A cell below "test" has the names of tests or the paths of golden cases, or "not tested". Every name with `::` is
/// that of a test.
fn named_tests(documents: &[Document], tests: &Tests) -> Broken {
    let mut broken = Broken::new();
    for document in documents.iter().filter(|document| is_promise(document)) {
        for row in document.rows().0 {
            let cell = match row.header.iter().position(|title| title == "test") {
                Some(column) => row.cells[column].as_str(),
                None => continue,
            };
            let mut names = cell.split('`').skip(1).step_by(2).peekable();
            let is_named = names.peek().is_some() && names.all(|name| name.contains(['/', ':']));
            if cell != "not tested" && !is_named {
                broken.push(format!("{}:{}: no test is named", document.path, row.line));
            }
        }
        for (line, name) in document.quoted() {
            let is_name = |letter: char| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_:".contains(letter)
            };
            if name.contains("::") && name.chars().all(is_name) && !tests.has(name) {
                broken.push(format!(
                    "{}:{line}: there is no test `{name}`",
                    document.path
                ));
            }
        }
    }
    broken
}

/// True for the documents that compare overlayd with its peers.
fn is_promise(document: &Document) -> bool {
    document.path.starts_with("docs/compat/")
}

/// Paths of the repository between backquotes, and targets of links, exist.
fn named_paths(documents: &[Document], exists: &dyn Fn(&str) -> bool) -> Broken {
    const FOLDERS: [&str; 11] = [
        ".ci/",
        ".github/",
        "base/",
        "crates/",
        "docs/",
        "fuzz/",
        "overlays/",
        "src/",
        "terraform/",
        "tests/",
        "xtask/",
    ];
    let mut broken = Broken::new();
    for document in documents {
        let is_path = |text: &&str| {
            FOLDERS.iter().any(|folder| text.starts_with(folder))
                && !text.contains([' ', '*', '<', '…'])
        };
        let quoted = document.quoted().filter(|(_, text)| is_path(text));
        let links = document.lines().flat_map(|(line, text)| {
            let targets = text.split("](").skip(1);
            let targets = targets.filter_map(|target| target.split([')', '#']).next());
            let ours = targets.filter(|target| !target.is_empty() && !target.contains("://"));
            ours.map(move |target| (line, target))
        });
        let folder = document
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        let quoted = quoted.map(|(line, path)| (line, path.to_owned()));
        let links = links.map(|(line, path)| (line, format!("{folder}/{path}")));
        for (line, path) in quoted.chain(links) {
            let path = path.trim_start_matches('/');
            if !exists(path) {
                broken.push(format!("{}:{line}: there is no `{path}`", document.path));
            }
        }
    }
    broken
}

/// Flags between backquotes exist, as the text of `--help` says.
fn named_flags(documents: &[Document], help: &str) -> Broken {
    let is_end = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '-');
    let flags: BTreeSet<&str> = help
        .split(is_end)
        .filter(|word| word.starts_with("--"))
        .collect();
    let mut broken = Broken::new();
    // The flags in this document are those of kustomize, which are refused in part.
    let of_kustomize = |document: &&Document| document.path == "docs/compat/kustomize.md";
    let ours = documents.iter().filter(|document| !of_kustomize(document));
    for document in ours.filter(|document| is_promise(document)) {
        for (line, quote) in document.quoted() {
            // Commands of the peers have flags of their own.
            if quote.starts_with("--") || quote.starts_with("overlayd ") {
                let named = quote.split(is_end).filter(|word| word.starts_with("--"));
                let unknown = named.filter(|flag| !flags.contains(flag));
                broken
                    .extend(unknown.map(|flag| {
                        format!("{}:{line}: there is no flag `{flag}`", document.path)
                    }));
            }
        }
    }
    broken
}

/// Runs the program at the root of the repository.
fn overlayd(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_overlayd"))
        .current_dir(root())
        .args(arguments)
        .env_remove("KUBECONFIG")
        .output()
        .expect("the program runs")
}

#[test]
fn tables_of_the_documents_are_well_formed() {
    check(
        "a row has the cells of its header",
        tables(&Document::repository()),
    );
}

#[test]
fn tests_that_the_documents_name_exist() {
    let broken = named_tests(&Document::repository(), &Tests::of(&SOURCES));
    check(
        "a promise is shown by a test, or it says that none does",
        broken,
    );
}

#[test]
fn paths_that_the_documents_name_exist() {
    let documents = Document::repository();
    let exists = |path: &str| root().join(path).exists();
    check("a path in a document", named_paths(&documents, &exists));
}

#[test]
fn flags_that_the_documents_name_exist() {
    let help = |command: &str| {
        let words = command.split(' ').chain(["--help"]);
        let output = overlayd(&words.collect::<Vec<_>>());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let commands = [
        "run",
        "build",
        "apply",
        "diff",
        "template",
        "iam",
        "cost",
        "reconcile",
        "migrate flux",
        "uninstall",
    ];
    let help: String = commands.map(help).concat();
    check(
        "a flag in docs/compat",
        named_flags(&Document::repository(), &help),
    );
}

/// The definitions of the kinds that a document compares have no field that the document does not name.
#[test]
fn fields_of_the_definitions_are_in_the_documents() {
    let output = overlayd(&["crds"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let nodes = goyaml::read(&text, &goyaml::ReadOptions::sigs()).expect("definitions are YAML");
    let documents = Document::repository();
    let mut broken = Broken::new();
    for node in &nodes {
        let definition = goyaml::to_json(node).expect("definitions are JSON");
        let group = definition["spec"]["group"].as_str().expect("a group");
        let path = match group {
            "external-secrets.io" => "docs/compat/external-secrets.md",
            "generators.external-secrets.io" => continue,
            _ => "docs/compat/flux.md",
        };
        let document = documents.iter().find(|document| document.path == path);
        let quotes = document.expect("the document is there").quoted();
        let named: BTreeSet<&str> = quotes
            .flat_map(|(_, quote)| quote.split(|letter: char| !letter.is_ascii_alphanumeric()))
            .collect();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let fields = &schema["properties"]["spec"]["properties"];
        for field in fields.as_object().expect("fields").keys() {
            if !named.contains(field.as_str()) {
                let kind = &definition["spec"]["names"]["kind"];
                broken.push(format!("{path}: {kind} has a field `{field}`"));
            }
        }
    }
    check("every field of a kind is in its document", broken);
}

/// The commands that README.md shows for a repository without a cluster.
#[test]
fn commands_of_the_readme_run() {
    const START: &str = "cargo run --bin overlayd -- ";
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(START))
        .collect();
    assert!(commands.len() >= 5, "{commands:?}");
    let mut broken = Broken::new();
    for command in commands {
        let arguments: Vec<&str> = command.split(' ').collect();
        let output = overlayd(&arguments);
        // A diff ends with 1 if there are differences, as during the work on an overlay.
        let most = i32::from(arguments[0] == "diff");
        if output.status.code().is_none_or(|code| code > most) {
            let error = String::from_utf8_lossy(&output.stderr);
            broken.push(format!("{command}: {error}"));
        }
    }
    check("a command in README.md", broken);
}

#[test]
fn planted_faults_of_documents_are_found() {
    let document = |text: &str| [Document::new("docs/compat/a.md", text)];
    let table = |row: &str| document(&format!("| a | test |\n| --- | --- |\n{row}\n"));
    let sources = Source::planted("tests/cluster/b.rs", "#[test]\nfn c() {}\nfn d() {}\n");
    let tests = Tests::of(&sources);
    let by_test = |row: &str| named_tests(&table(row), &tests).len();
    assert_eq!(tables(&table("| x | y |")).len(), 0);
    assert_eq!(tables(&table("| `x|y` | y \\| z |")).len(), 0);
    assert_eq!(tables(&table("| x |")).len(), 1);
    assert_eq!(
        tables(&table("\n| x | y |")).len(),
        1,
        "it fell out of its table"
    );
    assert_eq!(tables(&document("```\n| x |\n```\n")).len(), 0);
    assert_eq!(by_test("| x | `b::c` |"), 0);
    assert_eq!(by_test("| x | `cluster::c` |"), 0);
    assert_eq!(by_test("| x | not tested |"), 0);
    assert_eq!(by_test("| x | soon |"), 1);
    assert_eq!(by_test("| x | |"), 1);
    assert_eq!(by_test("| x | `c` |"), 1, "it has no place");
    assert_eq!(by_test("| x | `b::d` |"), 1, "it is no test");
    assert_eq!(by_test("| x | `e::c` |"), 1, "it is elsewhere");
    let by_path = |text: &str| named_paths(&document(text), &|path| path == "src/a.rs").len();
    assert_eq!(by_path("`src/a.rs` and [a](https://a.example/b)"), 0);
    assert_eq!(by_path("`src/b.rs` and\n[a](b.md)"), 2);
    let by_flag = |text: &str| named_flags(&document(text), "--one <N>\n--two-more").len();
    assert_eq!(
        by_flag("`--one`, `overlayd run --two-more x`, `flux x --three`"),
        0
    );
    assert_eq!(by_flag("`--three`, `overlayd run --two x`"), 2);
}
