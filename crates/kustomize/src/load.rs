//! Pure: finding and reading what a kustomization names, within its restrictions.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::budget::{Budget, Cost, as_u64, most_parsed};
use crate::documents::{Documents, parse, utf8};
use crate::error::{BuildError, BuildErrors, Problem};
use crate::files::FileEntry;
use crate::kustomization::{Kind, Kustomization};
use crate::options::{BuildOptions, LoadRestriction};
use crate::parallel;
use crate::path::RepoPath;
use crate::remote::{Remote, RemoteDirectory, is_http};
use crate::resource::{Origin, Resource};
use crate::tree::FileTree;

/// The recognised names, of which a directory has exactly one.
const FILE_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Reads files and directories for one build, each file's documents once.
pub(crate) struct Loader<'t> {
    pub(crate) tree: &'t FileTree,
    pub(crate) options: &'t BuildOptions,
    pub(crate) budget: &'t Budget,
    pub(crate) warnings: Vec<String>,
    /// What must be fetched before the build can be complete.
    needs: RefCell<BTreeSet<Remote>>,
    documents: BTreeMap<RepoPath, Arc<Documents>>,
    visited: usize,
    read_bytes: Cell<usize>,
    /// The files that have raised the budget.
    granted: RefCell<BTreeSet<RepoPath>>,
    objects: usize,
}

/// Fewer files are not worth a thread.
const PARSED_AT_ONCE: usize = 16;

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
    pub(crate) fn new(tree: &'t FileTree, options: &'t BuildOptions, budget: &'t Budget) -> Self {
        Self {
            tree,
            options,
            budget,
            warnings: Vec::new(),
            needs: RefCell::default(),
            documents: BTreeMap::new(),
            visited: 0,
            read_bytes: Cell::new(0),
            granted: RefCell::default(),
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
        self.budget.charge_steps(text.len())?;
        let kustomization = Kustomization::parse(text, &shown, self.budget)?;
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

    fn check_cycle(&self, real: &RepoPath, trail: &[RepoPath]) -> Result<(), BuildError> {
        match trail.iter().find(|visited| visited.is_within(real)) {
            None => Ok(()),
            Some(visited) => {
                let error = BuildError::from(Problem::Cycle(format!(
                    "candidate root `{}` contains visited root `{}`",
                    self.show(real),
                    self.show(visited)
                )));
                Err(error.hint(
                    "a base may not contain the directory that names it: move the base beside it",
                ))
            }
        }
    }

    fn find_kustomization(
        &self,
        directory: &RepoPath,
    ) -> Result<(RepoPath, Arc<[u8]>), BuildErrors> {
        let mut found = Vec::new();
        for name in FILE_NAMES {
            let path = directory.join(name)?;
            if let Some((real, FileEntry::File(_))) = self.tree.resolve(&path)? {
                found.push((path, real));
            }
        }
        let shown = self.show(directory);
        match found.len() {
            1 => {
                let (path, real) = found.swap_remove(0);
                Ok((path, self.bytes(&real)?))
            }
            0 => {
                let error = BuildError::from(Problem::NotFound(format!(
                    "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory `{shown}`"
                )));
                Err(error
                    .hint("add one there, or name the directory's files")
                    .into())
            }
            _ => {
                let message = format!("found multiple kustomization files under `{shown}`");
                let error = BuildError::from(Problem::Kustomization(message));
                Err(error.hint("keep one of them").into())
            }
        }
    }

    /// Finds a file that a kustomization names, if it may name it.
    fn locate(
        &self,
        directory: &Directory,
        name: &str,
    ) -> Result<(RepoPath, FileEntry), BuildError> {
        let path = self.path_of(directory, name)?;
        let (real, entry) = match self.tree.resolve(&path)? {
            Some((real, entry @ FileEntry::File(_))) => (real, entry),
            Some(_) => {
                let shown = self.show(&path);
                let error = Problem::NotFound(format!("`{shown}` must resolve to a file"));
                return Err(BuildError::from(error).hint("it is a directory; name a file in it"));
            }
            None => return Err(self.missing(&path)),
        };
        // What was cloned may never be left, whatever the restriction.
        let restricted = self.options.load_restriction == LoadRestriction::RootOnly
            || self.tree.mount_root(&directory.path).is_some();
        if restricted && !real.is_within(&directory.path) {
            let (shown, root) = (self.show(&path), self.show(&directory.path));
            let error = BuildError::from(Problem::Restricted(format!(
                "file `{shown}` is not in or below `{root}`"
            )));
            return Err(error.hint("move the file, make its directory a base, or pass --load-restrictor LoadRestrictionsNone"));
        }
        Ok((real, entry))
    }

    fn bytes(&self, real: &RepoPath) -> Result<Arc<[u8]>, Problem> {
        let bytes = self.tree.read(real)?;
        let limit = self.options.limits.file_bytes;
        if bytes.len() > limit {
            let shown = self.show(real);
            return Err(Problem::Limit(format!(
                "file `{shown}` is larger than {limit} bytes"
            )));
        }
        let total = self.read_bytes.get().saturating_add(bytes.len());
        self.read_bytes.set(total);
        let limit = self.options.limits.total_bytes;
        if total > limit {
            return Err(Problem::Limit(format!(
                "the build reads more than {limit} bytes of files"
            )));
        }
        self.grant(real, bytes.len());
        self.budget
            .check_room(most_parsed(&bytes), &self.show(real))?;
        Ok(bytes)
    }

    /// Raises the budget by a file, once.
    fn grant(&self, real: &RepoPath, bytes: usize) {
        if self.granted.borrow_mut().insert(real.clone()) {
            self.budget.grant(bytes);
        }
    }

    /// What must be fetched before the build can be complete.
    pub(crate) fn needs(&self) -> Vec<Remote> {
        self.needs.borrow().iter().cloned().collect()
    }

    /// Reads a file that a kustomization names: its real path and bytes. An http URL may stand wherever a file is
    /// named (`Load` in kustomize's fileloader.go).
    pub(crate) fn file(
        &self,
        directory: &Directory,
        name: &str,
    ) -> Result<(RepoPath, Arc<[u8]>), BuildError> {
        let real = if is_http(name) {
            self.fetched(name)?
        } else {
            self.locate(directory, name)?.0
        };
        let bytes = self.bytes(&real)?;
        Ok((real, bytes))
    }

    /// Where a file from elsewhere stands. One that is not there yet is noted as needed.
    fn fetched(&self, url: &str) -> Result<RepoPath, Problem> {
        let remote = Remote::File(url.to_owned());
        match self.tree.provided(&remote) {
            Some(Ok(path)) => Ok(path.clone()),
            Some(Err(reason)) => Err(Problem::NotFound(format!(
                "cannot load `{remote}`: {reason}"
            ))),
            None => {
                let problem = Problem::NotFound(format!("`{remote}` is not fetched"));
                self.needs.borrow_mut().insert(remote);
                Err(problem)
            }
        }
    }

    /// An absolute path is allowed where it leads to a file that may be read.
    fn path_of(&self, directory: &Directory, name: &str) -> Result<RepoPath, BuildError> {
        if name.is_empty() {
            return Err(
                BuildError::from(Problem::NotFound("the file name is empty".to_owned()))
                    .hint("remove the empty entry, or name a file"),
            );
        }
        if name.starts_with('/') {
            return Ok(RepoPath::root().join(name)?);
        }
        Ok(self.join(&directory.path, name)?)
    }

    /// Joins a relative path, which may not lead out of a clone.
    fn join(&self, from: &RepoPath, relative: &str) -> Result<RepoPath, Problem> {
        let path = from.join(relative);
        let Some(root) = self.tree.mount_root(from) else {
            return path;
        };
        path.ok().filter(|path| path.is_within(root)).ok_or_else(|| {
            Problem::Restricted(format!(
                "bases in kustomizations found in cloned git repos must be within the repo, but `{relative}` leaves `{}`",
                self.show(root)
            ))
        })
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
            _ => extension,
        };
        let parent = path.parent().unwrap_or_default();
        let neighbour = parent.join(&format!("{stem}.{other}")).ok();
        if let Some(neighbour) = neighbour
            && neighbour != *path
            && matches!(self.tree.resolve(&neighbour), Ok(Some(_)))
        {
            return error.hint(format!("there is `{}`", self.show(&neighbour)));
        }
        let shown = self.show(&parent);
        error.hint(format!(
            "paths count from the directory of the kustomization; nothing of this name stands in `{shown}`"
        ))
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

    /// An entry of `resources`: a file of resources, or a directory; here or elsewhere.
    /// `None` means that something must be fetched first.
    pub(crate) fn resource_entry(
        &mut self,
        directory: &Directory,
        name: &str,
    ) -> Result<Option<Entry>, BuildErrors> {
        if is_http(name) {
            return self.http_entry(name);
        }
        let path = self.path_of(directory, name)?;
        match self.tree.resolve(&path)? {
            Some((_, FileEntry::File(_))) => {
                let (real, entry) = self.locate(directory, name)?;
                let resources = self.resource_file(&real, &entry)?;
                Ok(Some(Entry::Resources(resources)))
            }
            Some(_) => Ok(self.directory_entry(directory, name)?.map(Entry::Directory)),
            None if RemoteDirectory::parse(name).is_some() => {
                Ok(self.directory_entry(directory, name)?.map(Entry::Directory))
            }
            None => Err(self.missing(&path).into()),
        }
    }

    /// An HTTP URL is a file if it can be had and read as one, and else, perhaps, a git repository.
    fn http_entry(&mut self, name: &str) -> Result<Option<Entry>, BuildErrors> {
        let repository = RemoteDirectory::parse(name);
        let marked = [".git", "_git/", "?ref=", "&ref=", "?version="]
            .iter()
            .any(|mark| name.contains(mark))
            || name
                .split_once("://")
                .map(|(_, rest)| rest)
                .is_some_and(|rest| rest.contains("//"));
        if let Some(repository) = repository.as_ref().filter(|_| marked) {
            return Ok(self.remote_directory(repository)?.map(Entry::Directory));
        }
        if self.tree.provided(&Remote::File(name.to_owned())).is_none() {
            self.fetched(name).ok();
            return Ok(None);
        }
        let file = match self.fetched(name) {
            Ok(path) => self.resource_file(&path, &FileEntry::File(None)),
            Err(problem) => Err(problem.into()),
        };
        match (file, repository) {
            (Ok(resources), _) => Ok(Some(Entry::Resources(resources))),
            (Err(_), Some(repository)) => {
                Ok(self.remote_directory(&repository)?.map(Entry::Directory))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn remote_directory(
        &mut self,
        wanted: &RemoteDirectory,
    ) -> Result<Option<RepoPath>, BuildError> {
        let remote = Remote::Repository(wanted.repository.clone());
        if self.tree.provided(&remote).is_none() {
            self.needs.borrow_mut().insert(remote);
            return Ok(None);
        }
        self.tree.remote_directory(wanted).map(Some)
    }

    /// An entry that must be a directory, here or in a git repository elsewhere.
    pub(crate) fn directory_entry(
        &mut self,
        directory: &Directory,
        name: &str,
    ) -> Result<Option<RepoPath>, BuildError> {
        if let Some(remote) = RemoteDirectory::parse(name) {
            return self.remote_directory(&remote);
        }
        if name.is_empty() {
            let error = Problem::NotFound("the directory name is empty".to_owned());
            return Err(BuildError::from(error).hint("remove the empty entry, or name a directory"));
        }
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
        Ok(Some(self.join(&directory.path, name)?))
    }

    /// Reads and parses on several threads what a list names. What cannot be had is left to be reported in its turn.
    pub(crate) fn parse_ahead(&mut self, directory: &Directory, names: &[String]) {
        let mut wanted = Vec::new();
        for name in names.iter().filter(|name| !is_http(name)) {
            let located = self.path_of(directory, name).ok().and_then(|path| {
                match self.tree.resolve(&path) {
                    Ok(Some((_, FileEntry::File(_)))) => self.locate(directory, name).ok(),
                    _ => None,
                }
            });
            match located {
                Some((real, entry)) if !self.documents.contains_key(&real) => {
                    wanted.push((real, entry));
                }
                _ => {}
            }
        }
        wanted.sort_by(|(one, _), (other, _)| one.cmp(other));
        wanted.dedup_by(|(one, _), (other, _)| one == other);
        let (tree, limits) = (self.tree, self.options.limits);
        let total = AtomicUsize::new(self.read_bytes.get());
        let (parsed_bytes, bytes_left) = (AtomicU64::new(0), self.budget.bytes_left());
        let (parsed_memory, memory_left) = (AtomicU64::new(0), self.budget.memory_left());
        let per_input = as_u64(limits.object_bytes_per_input_byte);
        let parsed = parallel::map_chunks(&wanted, PARSED_AT_ONCE, |files| {
            let parse = |(real, entry): &(RepoPath, FileEntry)| {
                if cached(tree, entry).is_some() {
                    return None;
                }
                let bytes = tree.read(real).ok()?;
                let total = total.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
                if bytes.len() > limits.file_bytes || total > limits.total_bytes {
                    return None;
                }
                // What is parsed at once must fit, with what aliases expand to; the rest is parsed, and charged, in its turn.
                let most = most_parsed(&bytes);
                let held = parsed_memory
                    .fetch_add(most, Ordering::Relaxed)
                    .saturating_add(most);
                if held > memory_left || parsed_bytes.load(Ordering::Relaxed) > bytes_left {
                    return None;
                }
                let documents = parse(&bytes, &tree.show(real)).ok()?;
                let granted = as_u64(bytes.len()).saturating_mul(per_input);
                let more = documents.bytes().saturating_sub(granted);
                parsed_bytes.fetch_add(more, Ordering::Relaxed);
                Some((documents, bytes.len()))
            };
            files.iter().map(parse).collect::<Vec<_>>()
        });
        for ((real, entry), parsed) in wanted.into_iter().zip(parsed.into_iter().flatten()) {
            let Some((documents, bytes)) = parsed else {
                continue;
            };
            self.read_bytes.set(self.read_bytes.get() + bytes);
            self.grant(&real, bytes);
            let documents = Arc::new(documents);
            if let (Some(cache), FileEntry::File(Some(id))) = (self.tree.cache(), entry) {
                cache.put(id, documents.clone(), documents.cached_bytes());
            }
            self.documents.insert(real, documents);
        }
    }

    /// The documents of a file, parsed once per content where its content has a name.
    fn documents(
        &mut self,
        real: &RepoPath,
        entry: &FileEntry,
    ) -> Result<Arc<Documents>, BuildErrors> {
        if let Some(documents) = self.documents.get(real) {
            return Ok(documents.clone());
        }
        let documents = match cached(self.tree, entry) {
            Some(documents) => {
                self.grant(real, documents.text_bytes);
                documents
            }
            None => {
                let bytes = self.bytes(real)?;
                let documents = Arc::new(parse(&bytes, &self.show(real))?);
                if let (Some(cache), FileEntry::File(Some(id))) = (self.tree.cache(), entry) {
                    cache.put(id.clone(), documents.clone(), documents.cached_bytes());
                }
                documents
            }
        };
        self.documents.insert(real.clone(), documents.clone());
        Ok(documents)
    }

    fn resource_file(
        &mut self,
        real: &RepoPath,
        entry: &FileEntry,
    ) -> Result<Vec<Resource>, BuildErrors> {
        let documents = self.documents(real, entry)?;
        let shown = self.show(real);
        let origin = Arc::new(Origin::file(shown.clone(), real.clone()));
        let comments =
            (!documents.comments.is_empty()).then(|| Arc::new(documents.comments.clone()));
        self.charge_documents(&documents)
            .map_err(|problem| BuildError::from(problem).at(shown.clone(), 0))?;
        let mut errors = crate::error::Errors::default();
        let mut resources = Vec::with_capacity(documents.nodes.len());
        for (node, weight) in documents.nodes.iter().zip(&documents.weights) {
            let resource = Resource::new(node.clone()).map_err(|error| relocate(error, &shown));
            if let Some(mut resource) = errors.take(resource) {
                resource.origin = Some(origin.clone());
                resource.weight = weight.bytes;
                resource.comments.clone_from(&comments);
                resources.push(resource);
            }
        }
        errors.finish()?;
        self.count(resources.len())?;
        Ok(resources)
    }

    /// Charges the objects of a file, each time that the file is named: what is shared now is copied when it is changed.
    fn charge_documents(&self, documents: &Documents) -> Result<(), Problem> {
        let nodes = documents.weights.iter().map(|weight| weight.nodes).sum();
        self.budget.charge(Cost::Steps, nodes)?;
        self.budget.charge(Cost::Bytes, documents.bytes())
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

/// What another build parsed of the same content.
fn cached(tree: &FileTree, entry: &FileEntry) -> Option<Arc<Documents>> {
    match entry {
        FileEntry::File(Some(id)) => tree.cache()?.get(id),
        _ => None,
    }
}

fn relocate(mut error: BuildError, file: &str) -> BuildError {
    if let Some(place) = &mut error.place {
        file.clone_into(&mut place.file);
    }
    error
}
