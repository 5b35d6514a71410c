//! Import circles: modules of one folder that need each other, directly or by way of others.

use std::collections::{BTreeMap, BTreeSet};

use crate::paths::{Named, paths};
use crate::source::Source;

/// A module by its path inside its package, beginning with the package.
type Module = Vec<String>;

/// The circles of each folder, by folder: each is the names of the modules that form it, in order.
///
/// A folder's `mod.rs` is its face and stands in no circle. What it hands on with `pub use` counts as an import of the
/// module that defines it.
pub(crate) fn circles(sources: &[Source]) -> BTreeMap<String, Vec<Vec<String>>> {
    let files: BTreeMap<Module, Vec<Named>> = sources
        .iter()
        .filter(|source| !source.is_test)
        .filter_map(|source| Some((module(source)?, paths(&source.code))))
        .collect();
    let mut edges: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, names) in &files {
        for target in names.iter().filter_map(|name| target(&files, from, name)) {
            let shared = from.iter().zip(&target).take_while(|(a, b)| a == b).count();
            let (Some(user), Some(used)) = (from.get(shared), target.get(shared)) else {
                continue;
            };
            let of_folder = edges.entry(from[..shared].to_vec()).or_default();
            of_folder
                .entry(user.clone())
                .or_default()
                .insert(used.clone());
        }
    }
    let of_folder = |(folder, edges): (Module, _)| (folder.join("/"), components(&edges));
    edges
        .into_iter()
        .map(of_folder)
        .filter(|(_, circles)| !circles.is_empty())
        .collect()
}

/// The module of a file. `src` and `crates/core/src` count as one package each.
fn module(source: &Source) -> Option<Module> {
    let (_, inside) = source.path.rsplit_once("src/").filter(|(before, _)| {
        before.is_empty() || before.starts_with("crates/") || *before == "xtask/"
    })?;
    let mut module = vec![source.package().to_owned()];
    module.extend(inside.trim_end_matches(".rs").split('/').map(str::to_owned));
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    Some(module)
}

/// The module that defines what a path names, if it is one of the same package.
fn target(files: &BTreeMap<Module, Vec<Named>>, from: &Module, name: &Named) -> Option<Module> {
    let mut absolute = absolute(files, from, &name.segments)?;
    // Each turn follows one `pub use`.
    for _ in 0..8 {
        let length = (1..=absolute.len())
            .rev()
            .find(|length| files.contains_key(&absolute[..*length]))?;
        let (found, rest) = absolute.split_at(length);
        let handed_on = rest.first().and_then(|item| {
            let mut exports = files[found].iter();
            exports.find(|export| export.exported.as_ref() == Some(item))
        });
        match handed_on.and_then(|export| self::absolute(files, &found.to_vec(), &export.segments))
        {
            Some(next) if next != absolute => absolute = next,
            _ => return Some(found.to_vec()),
        }
    }
    None
}

fn absolute(
    files: &BTreeMap<Module, Vec<Named>>,
    from: &Module,
    segments: &[String],
) -> Option<Module> {
    let mut base = from.clone();
    let mut rest = segments;
    match segments.first()?.as_str() {
        "crate" => {
            base.truncate(1);
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child => {
            let mut module = from.clone();
            module.push(child.to_owned());
            files.get(&module)?;
        }
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// Sets of names that reach each other.
fn components(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = edges
        .keys()
        .map(|start| (start, reach(edges, start)))
        .collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (start, reaches) in &reached {
        let mutual = reaches
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(start)));
        let circle: Vec<String> = mutual.map(|name| (**name).clone()).collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

fn reach<'a>(
    edges: &'a BTreeMap<String, BTreeSet<String>>,
    start: &'a String,
) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(name) = open.pop() {
        for next in edges.get(name).into_iter().flatten() {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> BTreeMap<String, Vec<Vec<String>>> {
        let owned = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        circles(&Source::of(owned.collect()))
    }

    fn expected(folder: &str, circle: &[&str]) -> BTreeMap<String, Vec<Vec<String>>> {
        let circle = circle.iter().map(|name| (*name).to_owned()).collect();
        BTreeMap::from([(folder.to_owned(), vec![circle])])
    }

    #[test]
    fn modules_that_need_each_other_are_found() {
        let found = of(&[
            (
                "src/a/mod.rs",
                "pub(crate) mod b; pub(crate) mod c; pub(crate) mod d;",
            ),
            ("src/a/b.rs", "use super::c::C;"),
            ("src/a/c.rs", "use crate::a::d;"),
            ("src/a/d/mod.rs", "mod e;"),
            ("src/a/d/e.rs", "fn f() { super::super::b::g() }"),
        ]);
        assert_eq!(found, expected("overlayd/a", &["b", "c", "d"]));
    }

    #[test]
    fn what_a_folder_hands_on_is_its_definers() {
        let found = of(&[
            ("src/a/mod.rs", "mod b; mod c; pub(crate) use b::B;"),
            ("src/a/b.rs", "use super::c::C;"),
            ("src/a/c.rs", "use super::B;"),
        ]);
        assert_eq!(found, expected("overlayd/a", &["b", "c"]));
    }

    #[test]
    fn a_line_and_a_circle_of_tests_are_none() {
        let found = of(&[
            ("src/b.rs", "use crate::c::C;"),
            ("src/c.rs", "#[cfg(test)]\nuse crate::b::B;\nuse std::fmt;"),
            ("crates/core/src/c.rs", "use crate::b::B;"),
        ]);
        assert_eq!(found, BTreeMap::new());
    }
}
