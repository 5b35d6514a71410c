//! Talks to the disk: the mirrors of this process, one for each address, credentials and way to the server.
//!
//! A mirror that cannot be read is cloned again, and one whose source is gone is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::git::fetched::Fetched;
use crate::git::life::MirrorLife;
use crate::git::mirror::{AttemptError, FetchError, Operation};
use crate::git::transport::Session;
use overlayd_core::git::source::GitSource;
use overlayd_core::git::storage_fault::{MirrorUse, StorageFault, is_collectable};

/// The mirrors below one directory.
#[derive(Debug)]
pub(crate) struct Mirrors {
    directory: PathBuf,
    max_bytes: usize,
    /// By the names of the folders. An entry goes with its mirror.
    known: Mutex<BTreeMap<String, Arc<Mutex<Mirror>>>>,
}

/// One mirror. The holder of its lock alone fetches into it or removes it.
#[derive(Debug)]
struct Mirror {
    life: Arc<MirrorLife>,
    used: Instant,
}

impl Mirrors {
    /// Mirrors below a directory. A fetch that receives more than `max_bytes` fails.
    pub(crate) fn new(directory: PathBuf, max_bytes: usize) -> Self {
        Self {
            directory,
            max_bytes,
            known: Mutex::default(),
        }
    }

    /// Fetches the wanted commit into its mirror. A ref that has not moved costs one `ls-remote`.
    pub(crate) async fn fetch(self: Arc<Self>, source: GitSource) -> Result<Fetched, FetchError> {
        let runtime = Handle::current();
        // libgit2 blocks, so it runs on a blocking thread, and only here.
        let task = tokio::task::spawn_blocking(move || self.fetch_blocking(&source, runtime));
        task.await.unwrap_or(Err(FetchError::Cancelled))
    }

    fn fetch_blocking(&self, source: &GitSource, runtime: Handle) -> Result<Fetched, FetchError> {
        let deadline = Instant::now() + source.timeout;
        let name = format!("{}.git", source.mirror_key());
        let path = self.directory.join(&name);
        let mirror = self.mirror(&name);
        // Sources of equal keys share a mirror, so the server of one may be slow for the other.
        let Some(mut mirror) = mirror.try_lock_until(deadline) else {
            let url = source.url.clone();
            return Err(FetchError::Busy { url });
        };
        let session = Session::new(&source.credentials, &source.reach, deadline, runtime);
        let session = session.map_err(|reason| FetchError::Remote {
            url: source.url.clone(),
            reason,
        })?;
        if mirror.life.is_damaged() {
            start_anew(&mut mirror, &path)?;
        }
        let fetched = session.run(|| match self.run(&mirror, source, &path, deadline) {
            // A crash or the disk may have damaged the mirror: it is cloned again, once.
            Err(AttemptError::Damaged(_)) => {
                start_anew(&mut mirror, &path)?;
                let again = self.run(&mirror, source, &path, deadline);
                again.map_err(AttemptError::into_error)
            }
            result => result.map_err(AttemptError::into_error),
        });
        mirror.used = Instant::now();
        mirror.life.set_bytes(size(&path));
        fetched
    }

    fn run(
        &self,
        mirror: &Mirror,
        source: &GitSource,
        path: &Path,
        deadline: Instant,
    ) -> Result<Fetched, AttemptError> {
        let left = source.disk_allowance.map_or(usize::MAX, |allowance| {
            let left = allowance.saturating_sub(size(path));
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        let operation = Operation {
            source,
            path,
            life: &mirror.life,
            max_bytes: self.max_bytes.min(left),
            deadline,
        };
        operation.run()
    }

    fn mirror(&self, name: &str) -> Arc<Mutex<Mirror>> {
        let mut known = self.known.lock();
        let mirror = known.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Mutex::new(Mirror {
                life: Arc::new(MirrorLife::new()),
                used: Instant::now(),
            }))
        });
        mirror.clone()
    }

    /// Removes the mirrors that no source in service reads and that no fetch has used for a while, and gives their number.
    /// Blocks. Mirrors of a former process count from the first call.
    pub(crate) fn collect(&self, in_service: &BTreeSet<PathBuf>, now: Instant) -> usize {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut removed = 0;
        for name in names {
            let path = self.directory.join(&name);
            if name.ends_with(GONE) || self.take_if_unused(&name, in_service, now) {
                // What cannot be removed is tried again the next time.
                removed += usize::from(std::fs::remove_dir_all(gone(&path)).is_ok());
            }
        }
        removed
    }

    /// Sets a mirror aside, so that it can be removed while another one takes its name. False if it is in use.
    fn take_if_unused(&self, name: &str, in_service: &BTreeSet<PathBuf>, now: Instant) -> bool {
        let path = self.directory.join(name);
        if path.extension().is_none_or(|extension| extension != "git") {
            return false;
        }
        let mirror = self.mirror(name);
        let mut known = self.known.lock();
        // The map and this function hold it; a third one waits for it or fetches.
        if Arc::strong_count(&mirror) > 2 {
            return false;
        }
        let idle = now.saturating_duration_since(mirror.lock().used);
        let mirror_use = if in_service.contains(&path) {
            MirrorUse::InService
        } else {
            MirrorUse::Idle(idle)
        };
        if !is_collectable(mirror_use) || std::fs::rename(&path, gone(&path)).is_err() {
            return false;
        }
        known.remove(name);
        true
    }

    /// How many mirrors are known, for metrics.
    pub(crate) fn len(&self) -> usize {
        self.known.lock().len()
    }
}

/// The end of the name of a mirror that is being removed.
const GONE: &str = ".gone";

fn gone(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == "gone" => path.to_path_buf(),
        _ => path.with_extension("git.gone"),
    }
}

/// Removes a mirror that cannot be read, and begins another life.
fn start_anew(mirror: &mut Mirror, path: &Path) -> Result<(), FetchError> {
    tracing::warn!(path = %path.display(), "mirror was damaged; cloning it again");
    mirror.life = Arc::new(MirrorLife::new());
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let message = error.to_string();
            let path = path.to_path_buf();
            Err(match StorageFault::of(&message) {
                StorageFault::Full => FetchError::DiskFull { path },
                _ => FetchError::Storage {
                    path,
                    source: git2::Error::from_str(&message),
                },
            })
        }
        _ => Ok(()),
    }
}

/// The bytes of all files below a path. What cannot be read counts as nothing.
fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
        _ => 0,
    });
    sizes.sum()
}
