//! Pure: one kustomization after the other, from the bottom up: resources, generators, components, transformers.
//!
//! ```text
//! directory ─open→ Kustomization ─resources→ Level ─generators→ ─components→ ─transformers→ Level
//! ```
//! A base is accumulated completely before its overlay; a component works on what its overlay has so far.

use std::sync::Arc;

use crate::error::{BuildError, BuildErrors, Errors, Problem};
use crate::generate;
use crate::kustomization::{Kind, SortOptions, Var};
use crate::load::{Entry, Loaded, Loader};
use crate::resource::{ConfiguredBy, Origin, ResId, ResMap, Resource};
use crate::schema::{FieldTables, MergeSchema, builtin_tables, is_known_kind};
use crate::transform;
use crate::tree::RepoPath;

/// What is known at one level: its resources, the field tables in force, and the vars so far.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    pub(crate) resources: ResMap,
    pub(crate) tables: Arc<FieldTables>,
    pub(crate) vars: Vec<Var>,
}

/// The root level, with what only the root's file decides.
pub(crate) struct Accumulated {
    pub(crate) level: Level,
    pub(crate) sort: Option<SortOptions>,
    pub(crate) metadata: BuildMetadata,
    /// The directory of the root, to which origins are relative.
    pub(crate) root: RepoPath,
}

/// What the root's `buildMetadata` asks for. Unknown words ask for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BuildMetadata {
    pub(crate) managed_by: bool,
    pub(crate) origins: bool,
    pub(crate) transformations: bool,
}

impl BuildMetadata {
    fn of(words: &[String]) -> Self {
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        Self {
            managed_by: has("managedByLabel"),
            origins: has("originAnnotations"),
            transformations: has("transformerAnnotations"),
        }
    }
}

/// Accumulates the kustomization at the root of the build.
pub(crate) fn root(
    loader: &mut Loader<'_>,
    directory: &RepoPath,
) -> Result<Accumulated, BuildErrors> {
    let loaded = loader.open(directory, &[])?;
    let sort = loaded.kustomization.sort.clone();
    let metadata = BuildMetadata::of(&loaded.kustomization.build_metadata);
    let schema = openapi_schema(loader, &loaded, None)?;
    let mut context = Context {
        loader,
        schema,
        metadata,
        built_in_schema_used: false,
    };
    let level = context.kustomization(&loaded, Level::default())?;
    Ok(Accumulated {
        level,
        sort,
        metadata,
        root: loaded.directory.path,
    })
}

/// What all levels of one build share.
pub(crate) struct Context<'c, 't> {
    pub(crate) loader: &'c mut Loader<'t>,
    /// A schema that replaces the built-in one.
    pub(crate) schema: Option<MergeSchema>,
    pub(crate) metadata: BuildMetadata,
    /// kustomize reads its built-in schema at the first object of a kind whose scope it does not know by heart.
    /// A custom schema that a base brings after that adds to it; one that comes before replaces it (openapi.go).
    built_in_schema_used: bool,
}

impl Context<'_, '_> {
    pub(crate) fn schema(&self) -> &MergeSchema {
        self.schema
            .as_ref()
            .unwrap_or_else(|| MergeSchema::builtin())
    }

    /// Runs one kustomization on a level: empty for a base, what is there so far for a component.
    fn kustomization(&mut self, loaded: &Loaded, level: Level) -> Result<Level, BuildErrors> {
        self.steps(loaded, level).map_err(|errors| {
            let directory = self.loader.show(&loaded.directory.path);
            let file = self.loader.show(&loaded.file);
            errors.map(|mut error| {
                let field = error.field.as_deref().unwrap_or_default();
                let line = loaded.kustomization.line_of(field);
                error = error.at(file.clone(), line);
                error.trail.insert(0, directory.clone());
                error
            })
        })
    }

    fn steps(&mut self, loaded: &Loaded, mut level: Level) -> Result<Level, BuildErrors> {
        refuse_unsupported(loaded)?;
        self.resources(loaded, &mut level)?;
        // What is not fetched yet would only cause errors that mean nothing.
        if !self.loader.needs.is_empty() {
            return Err(Problem::NotFound("a remote resource is not fetched".to_owned()).into());
        }
        self.tables(loaded, &mut level)?;
        generate::run(self, loaded, &mut level)?;
        self.components(loaded, &mut level)?;
        transform::run(self, loaded, &mut level)?;
        transform::validate(self, loaded, &mut level)?;
        transform::vars::register(loaded, &mut level)?;
        Ok(level)
    }

    /// Appends each entry in order. Entries that fail do not hide each other.
    fn resources(&mut self, loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
        let mut errors = Errors::default();
        self.loader
            .parse_ahead(&loaded.directory, &loaded.kustomization.resources);
        for (index, name) in loaded.kustomization.resources.iter().enumerate() {
            let entry = self.resource(loaded, name, level);
            errors.take(entry.map_err(|errors| {
                errors.map(|error| error.field(format!("resources[{index}] `{name}`")))
            }));
        }
        errors.finish()
    }

    fn resource(
        &mut self,
        loaded: &Loaded,
        name: &str,
        level: &mut Level,
    ) -> Result<(), BuildErrors> {
        match self.loader.resource_entry(&loaded.directory, name)? {
            None => {}
            Some(Entry::Resources(resources)) => {
                self.built_in_schema_used |= resources
                    .iter()
                    .any(|resource| !is_known_kind(&resource.id().gvk));
                level.resources.append_all(resources)?;
            }
            Some(Entry::Directory(path)) => {
                let base = self
                    .loader
                    .open_kind(&loaded.directory, &path, Kind::Kustomization)?;
                self.nested_openapi(&base)?;
                let base = self.kustomization(&base, Level::default())?;
                level.absorb(base)?;
            }
        }
        Ok(())
    }

    /// Says of every object that a transformer ran, where the root asks for it.
    pub(crate) fn ran(&self, level: &mut Level, by: impl FnOnce() -> Origin) {
        if !(self.metadata.transformations || self.metadata.origins) {
            return;
        }
        let by = Arc::new(by());
        for resource in level.resources.iter_mut() {
            match &resource.origin {
                None => resource.origin = Some(by.clone()),
                Some(_) if self.metadata.transformations => {
                    resource.transformations.push(by.clone());
                }
                Some(_) => {}
            }
            resource.rewrite_annotations();
        }
    }

    /// Says the same of a transformer that a field of a kustomization stands for.
    pub(crate) fn ran_builtin(&self, loaded: &Loaded, level: &mut Level, kind: &str) {
        self.ran(level, || Origin {
            file: self.loader.show(&loaded.file),
            path: loaded.file.clone(),
            configured_by: Some(ConfiguredBy::builtin(kind)),
        });
    }

    /// The output of a kustomization that holds configurations of plugins.
    pub(crate) fn configuration_directory(
        &mut self,
        loaded: &Loaded,
        path: &RepoPath,
    ) -> Result<Vec<Resource>, BuildErrors> {
        let nested = self
            .loader
            .open_kind(&loaded.directory, path, Kind::Kustomization)?;
        let level = self.kustomization(&nested, Level::default())?;
        Ok(level.resources.into_inner())
    }

    fn components(&mut self, loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
        for (index, name) in loaded.kustomization.components.iter().enumerate() {
            self.component(loaded, name, level).map_err(|errors| {
                errors.map(|error| error.field(format!("components[{index}] `{name}`")))
            })?;
        }
        Ok(())
    }

    fn component(
        &mut self,
        loaded: &Loaded,
        name: &str,
        level: &mut Level,
    ) -> Result<(), BuildErrors> {
        let Some(path) = self.loader.directory_entry(&loaded.directory, name)? else {
            return Ok(());
        };
        let component = self
            .loader
            .open_kind(&loaded.directory, &path, Kind::Component)?;
        self.nested_openapi(&component)?;
        *level = self.kustomization(&component, std::mem::take(level))?;
        // kustomize appends the whole set anew after a component, which finds names that patches made equal.
        level.resources.check_distinct().map_err(|ids| {
            let ids: Vec<String> = ids.iter().map(ResId::show_long).collect();
            let message = format!(
                "may not add resource with an already registered id: {}",
                ids.join(", ")
            );
            Problem::Identity(message).into()
        })
    }

    fn tables(&mut self, loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
        let configurations = transform::config::configurations(self.loader, loaded)?;
        let crds = transform::config::crds(self.loader, loaded)?;
        for tables in configurations.iter().chain(&crds) {
            Arc::make_mut(&mut level.tables).merge(tables)?;
        }
        Ok(())
    }

    /// The first schema found counts where the root has none.
    fn nested_openapi(&mut self, loaded: &Loaded) -> Result<(), BuildErrors> {
        if self.schema.is_none() {
            let built_in = self.built_in_schema_used.then(MergeSchema::builtin);
            self.schema = openapi_schema(self.loader, loaded, built_in)?;
        }
        Ok(())
    }
}

impl Default for Level {
    fn default() -> Self {
        Self {
            resources: ResMap::default(),
            tables: builtin_tables().clone(),
            vars: Vec::new(),
        }
    }
}

impl Level {
    fn absorb(&mut self, base: Self) -> Result<(), BuildErrors> {
        self.resources.append_all(base.resources.into_inner())?;
        // Most bases have the tables that everything begins with.
        if !Arc::ptr_eq(&self.tables, &base.tables) && !Arc::ptr_eq(builtin_tables(), &base.tables)
        {
            Arc::make_mut(&mut self.tables).merge(&base.tables)?;
        }
        transform::vars::extend(&mut self.vars, base.vars)?;
        Ok(())
    }
}

fn refuse_unsupported(loaded: &Loaded) -> Result<(), BuildError> {
    if loaded.kustomization.has_helm_charts {
        let problem = Problem::Unsupported(
            "`helmCharts` is not supported: charts are not rendered here".to_owned(),
        );
        return Err(BuildError::from(problem)
            .field("helmCharts")
            .hint("render the chart with `helm template` and commit the result"));
    }
    Ok(())
}

fn openapi_schema(
    loader: &Loader<'_>,
    loaded: &Loaded,
    built_in: Option<&MergeSchema>,
) -> Result<Option<MergeSchema>, BuildErrors> {
    let Some(openapi) = &loaded.kustomization.openapi else {
        return Ok(None);
    };
    let fail = |message: &str| {
        Err(BuildError::from(Problem::Kustomization(message.to_owned()))
            .field("openapi")
            .into())
    };
    match (openapi.path.as_str(), openapi.version.as_str()) {
        ("", "") => Ok(None),
        ("", "v1.21.2" | "v1212") => Ok(None),
        ("", _) => fail("the specified OpenAPI version is not built in; only v1.21.2 is"),
        (path, "") => {
            let mut schema = transform::config::openapi(loader, loaded, path, built_in)?;
            if let Some(built_in) = built_in {
                schema.add(built_in);
            }
            Ok(Some(schema))
        }
        _ => fail("`openapi` cannot have both `path` and `version`"),
    }
}
