//! Pure: how to build: restrictions, order and limits.

/// How to build. The default is what `kustomize build` does without flags.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Which files a kustomization may name.
    pub load_restriction: LoadRestriction,
    /// The order of the output where the root's `sortOptions` gives none.
    pub reorder: Reorder,
    /// Adds the label `app.kubernetes.io/managed-by` to every object.
    pub managed_by_label: bool,
    /// How much is too much.
    pub limits: Limits,
}

/// Which files a kustomization may name. Directories are not restricted, but by the root of the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LoadRestriction {
    /// Those in or below its own directory.
    #[default]
    RootOnly,
    /// Any file of the tree.
    None,
}

/// The order of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reorder {
    /// Namespaces and definitions first, webhooks last, else by group, kind, namespace and name.
    #[default]
    Legacy,
    /// As accumulated.
    None,
}

/// How much is too much, so that no repository can exhaust the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects of one build.
    pub objects: usize,
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Bytes of all files that one build reads, each as often as it is read.
    pub total_bytes: usize,
    /// Kustomizations visited by one build, each as often as it is named.
    pub kustomizations: usize,
    /// Levels of bases.
    pub depth: usize,
    /// Bytes of memory that the objects of one build may hold, whatever its files are.
    pub object_bytes: usize,
    /// Bytes of memory that each byte of a distinct file adds to [`Self::object_bytes`].
    pub object_bytes_per_input_byte: usize,
    /// Bytes of memory that the objects of one build may hold in all, however much the files allow: what the process has.
    pub memory_bytes: usize,
    /// Steps of one build: visits of a node, comparisons of a name, and the like, of some nanoseconds each.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            objects: 200_000,
            file_bytes: 32 << 20,
            total_bytes: 512 << 20,
            kustomizations: 20_000,
            depth: 64,
            object_bytes: 128 << 20,
            object_bytes_per_input_byte: 16,
            memory_bytes: usize::MAX,
            steps: 1_000_000_000,
        }
    }
}
