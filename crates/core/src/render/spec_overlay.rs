//! Pure: the kustomization file as the build reads it: the one of the directory with the fields of the spec over it, or
//! a new one that names everything in a plain folder.

use goyaml::ReadOptions;
use kustomize::{FileEntry, FileTree, RepoPath};
use serde_json::{Map, Value, json};

use crate::api::kustomization::{Image, KustomizationSpec, Patch};

/// The recognised names, in the order in which they are looked for.
const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// More entries of a plain folder are not looked at.
const MAX_ENTRIES: usize = 100_000;

/// A tree to build from.
#[derive(Debug)]
pub struct Amended {
    pub tree: FileTree,
    /// The file was made of what the folder holds, so every change in it counts.
    pub is_generated: bool,
}

/// Prepares the tree for a build of a directory. The error names the file that is at fault.
pub fn amend(
    tree: FileTree,
    directory: &RepoPath,
    spec: &KustomizationSpec,
) -> Result<Amended, String> {
    let existing = find(&tree, directory)?;
    let wants = wants_more(spec);
    let (path, file) = match existing {
        Some(path) if !wants => {
            let bytes = tree.read(&path).map_err(|problem| problem.to_string())?;
            // One that says nothing builds to nothing, as under Flux.
            match parsed(&bytes) {
                Some(file) if is_empty(&file) => (path, Some(file)),
                _ => {
                    return Ok(Amended {
                        tree,
                        is_generated: false,
                    });
                }
            }
        }
        Some(path) => {
            let bytes = tree.read(&path).map_err(|problem| problem.to_string())?;
            let Some(file) = parsed(&bytes) else {
                // The build says what is wrong with it, and where.
                return Ok(Amended {
                    tree,
                    is_generated: false,
                });
            };
            (path, Some(file))
        }
        None => {
            let path = directory
                .join(FILE_NAMES[0])
                .map_err(|problem| problem.to_string())?;
            (path, None)
        }
    };
    let is_generated = file.is_none();
    let mut file = match file {
        Some(file) => file,
        None => generated(&tree, directory)?,
    };
    overlay(&mut file, &tree, directory, spec);
    if is_empty(&file) {
        // Of no objects, the namespace is that of none.
        file.insert("namespace".to_owned(), json!("default"));
    }
    let text = goyaml::print(&goyaml::from_json(&Value::Object(file)))
        .map_err(|error| format!("{path}: {error}"))?;
    Ok(Amended {
        tree: tree.replacing(path, text.into_bytes()),
        is_generated,
    })
}

/// The one kustomization file of a directory, links followed. Of two the build says that there are two.
fn find(tree: &FileTree, directory: &RepoPath) -> Result<Option<RepoPath>, String> {
    for name in FILE_NAMES {
        let path = directory
            .join(name)
            .map_err(|problem| problem.to_string())?;
        let found = tree.resolve(&path).map_err(|problem| problem.to_string())?;
        if let Some((real, FileEntry::File(_))) = found {
            return Ok(Some(real));
        }
    }
    Ok(None)
}

fn parsed(bytes: &[u8]) -> Option<Map<String, Value>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let nodes = goyaml::read(text, &ReadOptions::sigs()).ok()?;
    match nodes.first() {
        None => Some(Map::new()),
        Some(node) => match goyaml::to_json(node).ok()? {
            Value::Object(file) => Some(file),
            Value::Null => Some(Map::new()),
            _ => None,
        },
    }
}

fn is_empty(file: &Map<String, Value>) -> bool {
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    file.iter()
        .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"))
        .all(|(_, value)| says_nothing(value))
}

fn wants_more(spec: &KustomizationSpec) -> bool {
    spec.target_namespace.is_some()
        || spec.name_prefix.is_some()
        || spec.name_suffix.is_some()
        || !spec.patches.is_empty()
        || !spec.images.is_empty()
        || !spec.components.is_empty()
        || !spec.build_metadata.is_empty()
}

/// Puts the fields of the spec over those of the file.
fn overlay(
    file: &mut Map<String, Value>,
    tree: &FileTree,
    directory: &RepoPath,
    spec: &KustomizationSpec,
) {
    for (field, value) in [
        ("namespace", &spec.target_namespace),
        ("namePrefix", &spec.name_prefix),
        ("nameSuffix", &spec.name_suffix),
    ] {
        if let Some(value) = value {
            file.insert(field.to_owned(), json!(value));
        }
    }
    let is_there = |component: &&String| {
        let path = directory.join(component);
        !spec.ignore_missing_components
            || path.is_ok_and(|path| matches!(tree.resolve(&path), Ok(Some(_))))
    };
    let components = spec.components.iter().filter(is_there);
    append(
        file,
        "components",
        components.map(|component| json!(component)),
    );
    append(file, "patches", spec.patches.iter().map(patch));
    for image in &spec.images {
        merge_image(file, image);
    }
    if !spec.build_metadata.is_empty() {
        file.insert("buildMetadata".to_owned(), json!(spec.build_metadata));
    }
}

fn append(file: &mut Map<String, Value>, field: &str, values: impl Iterator<Item = Value>) {
    let values: Vec<Value> = values.collect();
    if values.is_empty() {
        return;
    }
    match file.get_mut(field) {
        Some(Value::Array(list)) => list.extend(values),
        _ => drop(file.insert(field.to_owned(), Value::Array(values))),
    }
}

fn patch(patch: &Patch) -> Value {
    let mut entry = json!({"patch": patch.patch});
    if let Some(target) = &patch.target {
        entry["target"] = json!(target);
    }
    entry
}

/// An image of a name that the file has already is merged into it; tag and digest are one unit.
fn merge_image(file: &mut Map<String, Value>, image: &Image) {
    let new = json!(image);
    let Some(Value::Array(images)) = file.get_mut("images") else {
        append(file, "images", std::iter::once(new));
        return;
    };
    let Some(old) = images
        .iter_mut()
        .find(|old| old["name"] == image.name.as_str())
    else {
        images.push(new);
        return;
    };
    let Some(old) = old.as_object_mut() else {
        return;
    };
    if image.new_tag.is_some() || image.digest.is_some() {
        old.remove("newTag");
        old.remove("digest");
    }
    for (field, value) in new.as_object().into_iter().flatten() {
        old.insert(field.clone(), value.clone());
    }
}

/// A file that names everything in a folder.
fn generated(tree: &FileTree, directory: &RepoPath) -> Result<Map<String, Value>, String> {
    let mut resources = Vec::new();
    let mut left = MAX_ENTRIES;
    walk(tree, directory, "", &mut resources, &mut left)?;
    let file = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    });
    Ok(file.as_object().cloned().unwrap_or_default())
}

fn walk(
    tree: &FileTree,
    directory: &RepoPath,
    prefix: &str,
    resources: &mut Vec<String>,
    left: &mut usize,
) -> Result<(), String> {
    for name in tree
        .list(directory)
        .map_err(|problem| problem.to_string())?
    {
        *left = left
            .checked_sub(1)
            .ok_or_else(|| format!("`{directory}` holds more than {MAX_ENTRIES} files"))?;
        let path = directory
            .join(&name)
            .map_err(|problem| problem.to_string())?;
        let found = tree.resolve(&path).map_err(|problem| problem.to_string())?;
        // A link is not followed: what it leads to stands somewhere else, or twice.
        let Some((real, entry)) = found.filter(|(real, _)| *real == path) else {
            continue;
        };
        match entry {
            FileEntry::Directory if find(tree, &real)?.is_some() => {
                resources.push(format!("{prefix}{name}"));
            }
            FileEntry::Directory => {
                walk(tree, &real, &format!("{prefix}{name}/"), resources, left)?;
            }
            FileEntry::File(_) if is_yaml(&name) => {
                check(tree, &real)?;
                resources.push(format!("{prefix}{name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_yaml(name: &str) -> bool {
    // As Flux has it, capitals make another file.
    matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml")))
}

/// A file of a plain folder must hold objects and nothing else.
fn check(tree: &FileTree, path: &RepoPath) -> Result<(), String> {
    let bytes = tree.read(path).map_err(|problem| problem.to_string())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{path}: it is not UTF-8"))?;
    let nodes =
        goyaml::read(text, &ReadOptions::sigs()).map_err(|error| format!("{path}: {error}"))?;
    for node in nodes.iter().filter(|node| !node.is_null()) {
        let object = goyaml::to_json(node).map_err(|error| format!("{path}: {error}"))?;
        let has = |pointer: &str| object.pointer(pointer).is_some_and(Value::is_string);
        let is_list = object["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("List"));
        let is_object = has("/apiVersion") && has("/kind") && (has("/metadata/name") || is_list);
        if !is_object {
            return Err(format!(
                "{path}: it is no Kubernetes object (apiVersion, kind and metadata.name are needed); put a kustomization file into the folder that names the files to apply"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kustomize::BuildOptions;

    use super::*;

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

    fn check(files: &[(&str, &str)], spec: Value, expected: &str) {
        let tree = FileTree::of(files.iter().map(|(path, text)| (*path, *text)));
        let mut spec = spec;
        for (key, value) in [
            ("interval", json!("1m")),
            ("prune", json!(true)),
            ("sourceRef", json!({"kind": "GitRepository", "name": "a"})),
        ] {
            spec[key] = value;
        }
        let spec: KustomizationSpec = serde_json::from_value(spec).unwrap();
        let directory = RepoPath::root().join("app").unwrap();
        let text = match amend(tree, &directory, &spec) {
            Ok(amended) => {
                match kustomize::build(&amended.tree, &directory, &BuildOptions::default()) {
                    Ok(rendered) => {
                        let objects = rendered.objects.iter();
                        let name = |object: &kustomize::Object| {
                            let namespace = object.namespace().unwrap_or_default();
                            format!("{}/{namespace}/{}", object.kind(), object.name())
                        };
                        objects.map(name).collect::<Vec<_>>().join(" ")
                    }
                    Err(error) => format!("error: {error}"),
                }
            }
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn fields_of_the_spec_go_over_the_file() {
        let files = [
            (
                "app/kustomization.yaml",
                "namespace: own\nnamePrefix: p-\nresources: [a.yaml]\n",
            ),
            ("app/a.yaml", MAP),
            (
                "comp/kustomization.yaml",
                "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -c\n",
            ),
        ];
        check(&files, json!({}), "ConfigMap/own/p-a");
        check(
            &files,
            json!({"targetNamespace": "t", "namePrefix": "q-", "nameSuffix": "-s"}),
            "ConfigMap/t/q-a-s",
        );
        check(
            &files,
            json!({"components": ["../comp"]}),
            "ConfigMap/own/p-a-c",
        );
        check(
            &files,
            json!({"components": ["../nobody"], "ignoreMissingComponents": true}),
            "ConfigMap/own/p-a",
        );
        let patch = json!({"patch": "- op: replace\n  path: /metadata/name\n  value: b\n", "target": {"kind": "ConfigMap"}});
        check(&files, json!({"patches": [patch]}), "ConfigMap/own/p-b");
    }

    #[test]
    fn images_are_merged_by_name() {
        let mut file = parsed(b"images:\n- name: a\n  newName: b\n  newTag: '1'\n").unwrap();
        let image = |image: Value| serde_json::from_value::<Image>(image).unwrap();
        merge_image(
            &mut file,
            &image(json!({"name": "a", "digest": "sha256:x"})),
        );
        merge_image(&mut file, &image(json!({"name": "c", "newTag": "2"})));
        assert_eq!(
            Value::Object(file)["images"],
            json!([{"name": "a", "newName": "b", "digest": "sha256:x"}, {"name": "c", "newTag": "2"}])
        );
    }

    #[test]
    fn a_plain_folder_is_taken_whole() {
        let nested = MAP.replace("name: a", "name: n");
        let files = [
            ("app/b.yaml", MAP),
            (
                "app/sub/c.yml",
                "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n---\n",
            ),
            (
                "app/unit/kustomization.yaml",
                "namePrefix: u-\nresources: [x.yaml]\n",
            ),
            ("app/unit/x.yaml", nested.as_str()),
            ("app/README.md", "no YAML"),
        ];
        check(&files, json!({}), "ConfigMap//a ConfigMap//u-n Secret//s");
        check(
            &files,
            json!({"targetNamespace": "t"}),
            "ConfigMap/t/a ConfigMap/t/u-n Secret/t/s",
        );
        check(
            &[("app/values.yaml", "replicas: 1\n")],
            json!({}),
            "error: app/values.yaml: it is no Kubernetes object (apiVersion, kind and metadata.name are needed); put a kustomization file into the folder that names the files to apply",
        );
        check(&[("app/README.md", "x")], json!({}), "");
        check(
            &[("app/kustomization.yaml", "resources: []\n")],
            json!({}),
            "",
        );
    }
}
