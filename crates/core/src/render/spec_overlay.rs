//! Pure: the kustomization file as the build reads it: the file of the directory with the fields of the spec over it, or
//! a new file that names everything in a plain folder.

use goyaml::{PrintError, ReadError, ReadOptions};
use kustomize::{FileEntry, FileTree, Problem, RepoPath};
use serde_json::{Map, Value, json};

use crate::api::kustomization::{Image, KustomizationSpec, Patch};

/// The names of a kustomization file, in the order in which they are looked for.
const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// A plain folder with more entries is refused.
const MAX_ENTRIES: usize = 100_000;

/// A tree with the spec laid over its kustomization file.
#[derive(Debug)]
pub struct OverlaidTree {
    /// The tree to build from.
    pub tree: FileTree,
    /// The kustomization file was generated from what the folder holds, so every change in the folder counts.
    pub is_generated: bool,
}

/// Why the kustomization file cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecOverlayError {
    /// A file or directory cannot be read; the problem names it.
    #[error(transparent)]
    Tree(#[from] Problem),
    /// A plain folder holds too many files.
    #[error("`{0}` holds more than {MAX_ENTRIES} files")]
    TooManyFiles(RepoPath),
    /// A file cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: RepoPath,
        /// What is wrong with it.
        reason: FileError,
    },
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is no text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// It is no YAML.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It has no form as JSON, or cannot be printed.
    #[error(transparent)]
    Print(#[from] PrintError),
    /// A document of a plain folder is no object.
    #[error(
        "it is no Kubernetes object (apiVersion, kind and metadata.name are needed); put a kustomization file into the folder that names the files to apply"
    )]
    NoObject,
}

impl SpecOverlayError {
    fn file(path: &RepoPath, reason: impl Into<FileError>) -> Self {
        Self::File {
            path: path.clone(),
            reason: reason.into(),
        }
    }
}

/// Lays the fields of the spec over the kustomization file of a directory.
///
/// # Errors
/// The file that is at fault, and why.
pub fn overlay_spec(
    tree: FileTree,
    directory: &RepoPath,
    spec: &KustomizationSpec,
) -> Result<OverlaidTree, SpecOverlayError> {
    let existing = find(&tree, directory)?;
    let is_generated = existing.is_none();
    let (path, mut file) = if let Some(path) = existing {
        let file = parsed(&tree.read(&path)?);
        // The build reports what is wrong with a file that cannot be read. A file without any field is replaced, because
        // Flux builds it to nothing while kustomize refuses it.
        match file.filter(|file| has_overlay(spec) || is_empty(file)) {
            Some(file) => (path, file),
            None => return Ok(OverlaidTree { tree, is_generated }),
        }
    } else {
        let path = directory.join(FILE_NAMES[0])?;
        (path, generated(&tree, directory)?)
    };
    overlay(&mut file, &tree, directory, spec);
    if is_empty(&file) {
        // kustomize refuses a file without any field; a namespace changes nothing of no objects.
        file.insert("namespace".to_owned(), json!("default"));
    }
    let text = goyaml::print(&goyaml::from_json(&Value::Object(file)))
        .map_err(|error| SpecOverlayError::file(&path, error))?;
    Ok(OverlaidTree {
        tree: tree.replacing(path, text.into_bytes()),
        is_generated,
    })
}

/// The first kustomization file of a directory, links followed. The build refuses a directory with two of them.
fn find(tree: &FileTree, directory: &RepoPath) -> Result<Option<RepoPath>, Problem> {
    for name in FILE_NAMES {
        let path = directory.join(name)?;
        if let Some((real, FileEntry::File(_))) = tree.resolve(&path)? {
            return Ok(Some(real));
        }
    }
    Ok(None)
}

/// The fields of a kustomization file; `None` if it cannot be read.
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

/// True if the file sets no field but its kind.
fn is_empty(file: &Map<String, Value>) -> bool {
    let is_unset = |value: &Value| match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    file.iter()
        .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"))
        .all(|(_, value)| is_unset(value))
}

/// True if the spec has a field that goes into the kustomization file.
fn has_overlay(spec: &KustomizationSpec) -> bool {
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

/// Merges an image into the entry of the same name, or adds it. A new tag or digest replaces both old ones.
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

/// A kustomization file that names everything in a folder.
fn generated(
    tree: &FileTree,
    directory: &RepoPath,
) -> Result<Map<String, Value>, SpecOverlayError> {
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

/// Collects the YAML files below a directory, and the directories that have a kustomization file of their own.
fn walk(
    tree: &FileTree,
    directory: &RepoPath,
    prefix: &str,
    resources: &mut Vec<String>,
    left: &mut usize,
) -> Result<(), SpecOverlayError> {
    for name in tree.list(directory)? {
        *left = left
            .checked_sub(1)
            .ok_or_else(|| SpecOverlayError::TooManyFiles(directory.clone()))?;
        let path = directory.join(&name)?;
        // A link is not followed, because its target would be applied twice or is not meant for this folder. It is left
        // out wherever it leads, since Flux leaves links out of its artifacts.
        if tree.is_link(&path)? {
            continue;
        }
        let Some((real, entry)) = tree.resolve(&path)? else {
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
    // Flux compares the extension with its case (fluxcd/pkg `kustomize_generator.go`).
    matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml")))
}

/// Refuses a file of a plain folder that holds anything but objects.
fn check(tree: &FileTree, path: &RepoPath) -> Result<(), SpecOverlayError> {
    let bytes = tree.read(path)?;
    check_objects(&bytes).map_err(|reason| SpecOverlayError::file(path, reason))
}

fn check_objects(bytes: &[u8]) -> Result<(), FileError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotUtf8)?;
    let nodes = goyaml::read(text, &ReadOptions::sigs())?;
    for node in nodes.iter().filter(|node| !node.is_null()) {
        let object = goyaml::to_json(node)?;
        let has = |pointer: &str| object.pointer(pointer).is_some_and(Value::is_string);
        let kind = object["kind"].as_str().unwrap_or_default();
        let has_name = has("/metadata/name") || kind.ends_with("List");
        if !(has("/apiVersion") && has("/kind") && has_name) {
            return Err(FileError::NoObject);
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
        let text = match overlay_spec(tree, &directory, &spec) {
            Ok(overlaid) => {
                match kustomize::build(&overlaid.tree, &directory, &BuildOptions::default()) {
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
    fn metadata_of_the_build_is_added_as_the_spec_asks() {
        let files = [
            ("app/kustomization.yaml", "resources: [a.yaml]\n"),
            ("app/a.yaml", MAP),
        ];
        let directory = RepoPath::root().join("app").unwrap();
        let annotations = |wanted: &[&str]| {
            let spec = KustomizationSpec {
                build_metadata: wanted.iter().map(|&name| name.to_owned()).collect(),
                ..KustomizationSpec::default()
            };
            let overlaid = overlay_spec(FileTree::of(files), &directory, &spec).unwrap();
            let options = BuildOptions::default();
            let rendered = kustomize::build(&overlaid.tree, &directory, &options).unwrap();
            rendered.objects[0].to_json()["metadata"]["annotations"].clone()
        };
        assert_eq!(annotations(&[]), Value::Null);
        let origin = annotations(&["originAnnotations"]);
        let origin = origin["config.kubernetes.io/origin"].as_str().unwrap();
        assert!(origin.contains("a.yaml"), "{origin}");
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

    /// The files of a folder `app`, in which `out.yaml` and `circle` are links.
    struct WithLinks;

    impl kustomize::Files for WithLinks {
        fn entry(&self, path: &RepoPath) -> Result<Option<FileEntry>, String> {
            let link = |target: &str| Some(FileEntry::Link(target.to_owned()));
            Ok(match path.to_string().as_str() {
                "app" => Some(FileEntry::Directory),
                "app/a.yaml" => Some(FileEntry::File(None)),
                "app/out.yaml" => link("../../etc/passwd"),
                "app/absolute.yaml" => link("/etc/passwd"),
                "app/circle" => link("circle"),
                _ => None,
            })
        }

        fn read(&self, _: &RepoPath) -> Result<std::sync::Arc<[u8]>, String> {
            Ok(MAP.as_bytes().into())
        }

        fn list(&self, _: &RepoPath) -> Result<Vec<String>, String> {
            let names = ["a.yaml", "absolute.yaml", "circle", "out.yaml"];
            Ok(names.map(str::to_owned).to_vec())
        }
    }

    #[test]
    fn links_are_left_out_of_a_plain_folder_wherever_they_lead() {
        let tree = FileTree::repository(std::sync::Arc::new(WithLinks));
        let directory = RepoPath::root().join("app").unwrap();
        let spec = KustomizationSpec::default();
        let overlaid = overlay_spec(tree, &directory, &spec).unwrap();
        let options = BuildOptions::default();
        let rendered = kustomize::build(&overlaid.tree, &directory, &options).unwrap();
        let names: Vec<&str> = rendered
            .objects
            .iter()
            .map(kustomize::Object::name)
            .collect();
        assert_eq!(names, ["a"]);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        check(
            &[("app/a.yaml", "a: [")],
            json!({}),
            "error: app/a.yaml: line 1: unclosed bracket '['",
        );
        check(
            &[("app/list.yaml", "apiVersion: v1\nkind: List\nitems: []\n")],
            json!({}),
            "",
        );
        let bytes = SpecOverlayError::file(&RepoPath::root(), FileError::NotUtf8);
        assert!(bytes.to_string().ends_with(": it is not UTF-8"), "{bytes}");
    }

    #[test]
    fn a_file_that_needs_no_change_is_left_to_the_build() {
        let files = [("app/kustomization.yaml", "resources: [")];
        let tree = FileTree::of(files);
        let spec = KustomizationSpec {
            name_prefix: Some("p-".to_owned()),
            ..KustomizationSpec::default()
        };
        let directory = RepoPath::root().join("app").unwrap();
        let overlaid = overlay_spec(tree, &directory, &spec).unwrap();
        assert!(!overlaid.is_generated);
        let path = directory.join("kustomization.yaml").unwrap();
        assert_eq!(&*overlaid.tree.read(&path).unwrap(), b"resources: [");
    }
}
