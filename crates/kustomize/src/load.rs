//! Pure: finding and reading what a kustomization names, within its restrictions.

use std::collections::BTreeMap;
use std::sync::Arc;

use goyaml::{Node, ReadOptions};

use crate::decode::nearest;
use crate::error::{BuildError, BuildErrors, Problem};
use crate::kustomization::{Kind, Kustomization};
use crate::resource::{Origin, Resource};
use crate::tree::{FileEntry, FileTree, RepoPath};
use crate::{BuildOptions, LoadRestriction};

/// The recognised names, of which a directory has exactly one.
const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Reads files and directories for one build, each file's documents once.
pub(crate) struct Loader<'t> {
    pub(crate) tree: &'t FileTree,
    pub(crate) options: &'t BuildOptions,
    pub(crate) warnings: Vec<String>,
    documents: BTreeMap<RepoPath, Arc<Vec<Node>>>,
    visited: usize,
    objects: usize,
}

/// A directory that is being built, and those that led to it.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) path: RepoPath,
    pub(crate) trail: Vec<RepoPath>,
}

/// A kustomization with its place.
pub(crate) struct Loaded {
    pub(crate) directory: Directory,
    pub(crate) file: RepoPath,
    pub(crate) kustomization: Kustomization,
}

/// What an entry of `resources` turned out to be.
pub(crate) enum Entry {
    Resources(Vec<Resource>),
    Directory(RepoPath),
}

impl<'t> Loader<'t> {
    pub(crate) fn new(tree: &'t FileTree, options: &'t BuildOptions) -> Self {
        Self {
            tree,
            options,
            warnings: Vec::new(),
            documents: BTreeMap::new(),
            visited: 0,
            objects: 0,
        }
    }

    pub(crate) fn show(&self, path: &RepoPath) -> String {
        self.tree.show(path)
    }

    /// Finds and parses the kustomization of a directory.
    pub(crate) fn open(
        &mut self,
        path: &RepoPath,
        trail: &[RepoPath],
    ) -> Result<Loaded, BuildErrors> {
        let limits = self.options.limits;
        self.visited += 1;
        if self.visited > limits.kustomizations || trail.len() > limits.depth {
            let message = format!(
                "more than {} kustomizations, or bases nested deeper than {}",
                limits.kustomizations, limits.depth
            );
            return Err(Problem::Limit(message).into());
        }
        let real = match self.tree.resolve(path)? {
            Some((real, FileEntry::Directory)) => real,
            Some(_) => {
                return Err(Problem::NotFound(format!(
                    "`{}` is a file, not a directory",
                    self.show(path)
                ))
                .into());
            }
            None => {
                return Err(Problem::NotFound(format!(
                    "directory `{}` does not exist",
                    self.show(path)
                ))
                .into());
            }
        };
        self.check_cycle(&real, trail)?;
        let (file, bytes) = self.find_kustomization(&real)?;
        let shown = self.show(&file);
        let text = utf8(&bytes, &shown)?;
        let kustomization = Kustomization::parse(text, &shown)?;
        let warnings = kustomization
            .warnings
            .iter()
            .map(|warning| format!("{shown}: {warning}"));
        self.warnings.extend(warnings);
        Ok(Loaded {
            directory: Directory {
                path: real,
                trail: trail.to_vec(),
            },
            file,
            kustomization,
        })
    }

    fn check_cycle(&self, real: &RepoPath, trail: &[RepoPath]) -> Result<(), Problem> {
        match trail.iter().find(|visited| visited.is_within(real)) {
            None => Ok(()),
            Some(visited) => Err(Problem::Cycle(format!(
                "candidate root `{}` contains visited root `{}`",
                self.show(real),
                self.show(visited)
            ))),
        }
    }

    fn find_kustomization(
        &self,
        directory: &RepoPath,
    ) -> Result<(RepoPath, Arc<[u8]>), BuildErrors> {
        let mut found = Vec::new();
        for name in FILE_NAMES {
            let path = directory.join(name)?;
            if let Some((_, FileEntry::File(bytes))) = self.tree.resolve(&path)? {
                found.push((path, bytes));
            }
        }
        let shown = self.show(directory);
        match found.len() {
            1 => Ok(found.swap_remove(0)),
            0 => Err(Problem::NotFound(format!(
                "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory `{shown}`"
            ))
            .into()),
            _ => Err(Problem::Kustomization(format!("found multiple kustomization files under `{shown}`")).into()),
        }
    }

    /// Reads a file that a kustomization names: its real path and bytes.
    pub(crate) fn file(
        &self,
        directory: &Directory,
        name: &str,
    ) -> Result<(RepoPath, Arc<[u8]>), BuildError> {
        let path = Self::path_of(directory, name)?;
        let shown = self.show(&path);
        let (real, bytes) = match self.tree.resolve(&path)? {
            Some((real, FileEntry::File(bytes))) => (real, bytes),
            Some((_, FileEntry::Directory)) => {
                return Err(Problem::NotFound(format!("`{shown}` must resolve to a file")).into());
            }
            _ => return Err(self.missing(&path)),
        };
        if self.options.load_restriction == LoadRestriction::RootOnly
            && !real.is_within(&directory.path)
        {
            let root = self.show(&directory.path);
            let error = BuildError::from(Problem::Restricted(format!(
                "file `{shown}` is not in or below `{root}`"
            )));
            return Err(error.hint("move the file, make its directory a base, or pass --load-restrictor LoadRestrictionsNone"));
        }
        let limit = self.options.limits.file_bytes;
        if bytes.len() > limit {
            return Err(
                Problem::Limit(format!("file `{shown}` is larger than {limit} bytes")).into(),
            );
        }
        Ok((real, bytes))
    }

    /// An absolute path is allowed where it leads to a file that may be read.
    fn path_of(directory: &Directory, name: &str) -> Result<RepoPath, Problem> {
        if name.is_empty() {
            return Err(Problem::NotFound("the file name is empty".to_owned()));
        }
        if name.starts_with('/') {
            RepoPath::root().join(name)
        } else {
            directory.path.join(name)
        }
    }

    /// Says that a path does not exist, and which of its neighbours may be meant.
    fn missing(&self, path: &RepoPath) -> BuildError {
        let error = BuildError::from(Problem::NotFound(format!(
            "file `{}` does not exist",
            self.show(path)
        )));
        let (stem, extension) = path
            .name()
            .rsplit_once('.')
            .unwrap_or_else(|| (path.name(), ""));
        let other = match extension {
            "yaml" => "yml",
            "yml" => "yaml",
            _ => return error,
        };
        let neighbour = path
            .parent()
            .and_then(|parent| parent.join(&format!("{stem}.{other}")).ok());
        match neighbour.map(|path| (self.tree.resolve(&path), path)) {
            Some((Ok(Some(_)), path)) => error.hint(format!("there is `{}`", self.show(&path))),
            _ => error,
        }
    }

    /// Reads a text file that a kustomization names.
    pub(crate) fn text(
        &self,
        directory: &Directory,
        name: &str,
    ) -> Result<(RepoPath, String), BuildError> {
        let (path, bytes) = self.file(directory, name)?;
        let text = utf8(&bytes, &self.show(&path))?.to_owned();
        Ok((path, text))
    }

    /// An entry of `resources`: a file of resources, or a directory.
    pub(crate) fn resource_entry(
        &mut self,
        directory: &Directory,
        name: &str,
    ) -> Result<Entry, BuildErrors> {
        if is_remote(name) {
            let error = BuildError::from(Problem::Unsupported(format!(
                "remote resource `{name}` is not supported yet"
            )));
            return Err(error.hint("copy the base into the repository").into());
        }
        let path = Self::path_of(directory, name)?;
        match self.tree.resolve(&path)? {
            Some((_, FileEntry::Directory)) => Self::directory_entry(directory, name)
                .map(Entry::Directory)
                .map_err(Into::into),
            _ => Ok(Entry::Resources(self.resource_file(directory, name)?)),
        }
    }

    /// An entry that must be a directory.
    pub(crate) fn directory_entry(
        directory: &Directory,
        name: &str,
    ) -> Result<RepoPath, BuildError> {
        if name.starts_with('/') {
            return Err(
                Problem::Restricted(format!("new root `{name}` cannot be absolute")).into(),
            );
        }
        let ambiguous = name
            .split('/')
            .any(|segment| segment.contains("..") && segment != "..");
        if ambiguous {
            return Err(Problem::Restricted(format!(
                "path `{name}` is ambiguous: a segment contains `..`"
            ))
            .into());
        }
        Ok(directory.path.join(name)?)
    }

    fn resource_file(
        &mut self,
        directory: &Directory,
        name: &str,
    ) -> Result<Vec<Resource>, BuildErrors> {
        let (path, bytes) = self.file(directory, name)?;
        let shown = self.show(&path);
        let documents = match self.documents.get(&path) {
            Some(documents) => documents.clone(),
            None => {
                let documents = Arc::new(read_documents(&bytes, &shown)?);
                self.documents.insert(path, documents.clone());
                documents
            }
        };
        let origin = Arc::new(Origin {
            file: shown.clone(),
            configured_by: None,
        });
        let mut errors = crate::error::Errors::default();
        let mut resources = Vec::new();
        for node in documents.iter() {
            let resource = Resource::new(node.clone()).map_err(|error| relocate(error, &shown));
            if let Some(mut resource) = errors.take(resource) {
                resource.origin = Some(origin.clone());
                resources.push(resource);
            }
        }
        errors.finish()?;
        self.count(resources.len())?;
        Ok(resources)
    }

    /// Counts objects against the limit of the build.
    pub(crate) fn count(&mut self, objects: usize) -> Result<(), Problem> {
        self.objects += objects;
        let limit = self.options.limits.objects;
        if self.objects > limit {
            return Err(Problem::Limit(format!(
                "the build has more than {limit} objects"
            )));
        }
        Ok(())
    }

    /// Opens a directory that must hold a kustomization of the given kind.
    pub(crate) fn open_kind(
        &mut self,
        from: &Directory,
        path: &RepoPath,
        wanted: Kind,
    ) -> Result<Loaded, BuildErrors> {
        let mut trail = from.trail.clone();
        trail.push(from.path.clone());
        let loaded = self.open(path, &trail)?;
        let kind = loaded.kustomization.kind;
        if kind == wanted {
            return Ok(loaded);
        }
        let shown = self.show(path);
        let error = match wanted {
            Kind::Component => BuildError::from(Problem::Kustomization(format!(
                "expected kind 'Component' for path `{shown}` but got '{kind:?}'"
            )))
            .hint("name it under `resources`"),
            Kind::Kustomization => BuildError::from(Problem::Kustomization(format!(
                "expected kind != 'Component' for path `{shown}`"
            )))
            .hint("name it under `components`"),
        };
        Err(error.into())
    }
}

fn relocate(mut error: BuildError, file: &str) -> BuildError {
    if let Some(place) = &mut error.place {
        file.clone_into(&mut place.file);
    }
    error
}

fn is_remote(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    [
        "http://",
        "https://",
        "ssh://",
        "file://",
        "git::",
        "git@",
        "github.com/",
        "github.com:",
    ]
    .iter()
    .any(|prefix| lower.starts_with(prefix))
}

/// The text of a file, or where it is not UTF-8.
pub(crate) fn utf8<'b>(bytes: &'b [u8], shown: &str) -> Result<&'b str, BuildError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = String::from_utf8_lossy(&bytes[..error.valid_up_to()])
            .matches('\n')
            .count()
            + 1;
        BuildError::from(Problem::Malformed("invalid UTF-8".to_owned())).at(shown, line)
    })
}

/// The objects of a file: its documents, lists taken apart.
pub(crate) fn read_documents(bytes: &[u8], shown: &str) -> Result<Vec<Node>, BuildError> {
    read_text(utf8(bytes, shown)?, shown)
}

/// The objects of a text: its documents, lists taken apart.
pub(crate) fn read_text(text: &str, shown: &str) -> Result<Vec<Node>, BuildError> {
    let documents = goyaml::read(text, &ReadOptions::default()).map_err(|error| {
        BuildError::from(Problem::Malformed(format!(
            "MalformedYAMLError: yaml: {error}"
        )))
        .at(shown, error.line())
    })?;
    if let [single] = &documents[..]
        && matches!(kind_of(single), "List" | "ResourceList")
        && let Some(items) = single.get("items").and_then(Node::as_sequence)
    {
        return Ok(expand_lists(items.iter().cloned().collect()));
    }
    Ok(expand_lists(documents))
}

fn kind_of(node: &Node) -> &str {
    node.get("kind").and_then(Node::as_text).unwrap_or_default()
}

/// Takes apart every `…List` that has items; its items go to the end.
fn expand_lists(nodes: Vec<Node>) -> Vec<Node> {
    let is_list = |node: &Node| {
        kind_of(node).ends_with("List")
            && node
                .as_mapping()
                .is_some_and(|mapping| mapping.contains_key("items"))
    };
    let (lists, mut plain): (Vec<Node>, Vec<Node>) = nodes.into_iter().partition(is_list);
    let items = lists
        .into_iter()
        .filter_map(|mut list| list.as_mapping_mut()?.remove("items"));
    let items: Vec<Node> = items
        .filter_map(|items| items.as_sequence().cloned())
        .flatten()
        .collect();
    if !items.is_empty() {
        plain.extend(expand_lists(items));
    }
    plain
}

/// The nearest of the known names, as a hint.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}
