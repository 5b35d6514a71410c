//! The modules of this crate stand in layers, and each imports only what stands below it.
//! The order is the one that the documentation of `lib.rs` describes.

#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::path::Path;

/// Each module, from the bottom. A folder is one module here; its own files are checked by the second list.
const LAYERS: [&str; 30] = [
    "error",
    "parallel",
    "link",
    "gojson",
    "gvk",
    "options",
    "budget",
    "path",
    "files",
    "decode",
    "schema",
    "walk",
    "documents",
    "resource",
    "selector",
    "kustomization",
    "remote",
    "cache",
    "tree",
    "rendered",
    "load",
    "level",
    "tables",
    "openapi",
    "generate",
    "transform",
    "plugins",
    "accumulate",
    "order",
    "finish",
];

/// Every file of the crate but `lib.rs`: its top-level module and its text.
fn files(directory: &Path, module: Option<&str>, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let module = module.unwrap_or(&name);
        if path.is_dir() {
            files(&path, Some(module), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "lib" {
            found.push((module.to_owned(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The modules that a text imports or names, by `crate::name`.
fn imported(text: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for part in text.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or_default();
            modules.extend(list.split(',').map(|name| name.trim().to_owned()));
            continue;
        }
        let end = part.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        modules.push(part[..end.unwrap_or(part.len())].to_owned());
    }
    modules
}

/// The imports that go upwards, as `module -> other`.
fn upwards(files: &[(String, String)]) -> Vec<String> {
    let layer = |module: &str| LAYERS.iter().position(|known| *known == module);
    let mut wrong = Vec::new();
    for (module, text) in files {
        let Some(own) = layer(module) else {
            wrong.push(format!("`{module}` has no layer"));
            continue;
        };
        for other in imported(text) {
            if layer(&other).is_none_or(|other| other > own) {
                wrong.push(format!("{module} -> {other}"));
            }
        }
    }
    wrong
}

#[test]
fn imports_go_downwards() {
    let mut found = Vec::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files(&source, None, &mut found);
    assert!(found.len() > LAYERS.len(), "the files were not found");
    let wrong = upwards(&found);
    assert!(wrong.is_empty(), "imports that go upwards: {wrong:?}");
}

#[test]
fn an_import_that_goes_upwards_is_found() {
    let file = |module: &str, text: &str| vec![(module.to_owned(), text.to_owned())];
    let wrong = upwards(&file("tree", "use crate::load::Loader;\n"));
    assert_eq!(wrong, ["tree -> load"]);
    let wrong = upwards(&file("error", "use crate::{gvk, options};\n"));
    assert_eq!(wrong, ["error -> gvk", "error -> options"]);
    assert!(upwards(&file("load", "use crate::tree::FileTree;\n")).is_empty());
}
