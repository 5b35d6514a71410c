//! Pure: one kustomization after the other, from the bottom up: resources, generators, components, transformers.
//!
//! ```text
//! directory ─open→ Kustomization ─resources→ Level ─generators→ ─components→ ─transformers→ Level
//! ```
//! A base is accumulated completely before its overlay; a component works on what its overlay has so far.

use std::sync::Arc;

use goyaml::Node;

use crate::error::{BuildError, BuildErrors, Errors, Problem};
use crate::generate;
use crate::kustomization::{Kind, OpenApi, SortOptions, Var};
use crate::load::{Entry, Loaded, Loader};
use crate::resource::{ResMap, Resource};
use crate::schema::{FieldTables, MergeSchema, builtin_tables};
use crate::transform;
use crate::tree::RepoPath;

/// What is known at one level: its resources, the field tables in force, and the vars so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Level {
    pub(crate) resources: ResMap,
    pub(crate) tables: Arc<FieldTables>,
    pub(crate) vars: Vec<Var>,
}

/// The root level, with what only the root's file decides.
pub(crate) struct Accumulated {
    pub(crate) level: Level,
    pub(crate) sort: Option<SortOptions>,
    pub(crate) build_metadata: Vec<String>,
}

/// Accumulates the kustomization at the root of the build.
pub(crate) fn root(
    loader: &mut Loader<'_>,
    directory: &RepoPath,
) -> Result<Accumulated, BuildErrors> {
    let loaded = loader.open(directory, &[])?;
    let sort = loaded.kustomization.sort.clone();
    let build_metadata = loaded.kustomization.build_metadata.clone();
    let schema = openapi_schema(loader, &loaded, loaded.kustomization.openapi.as_ref())?;
    let mut context = Context { loader, schema };
    let level = context.kustomization(&loaded, Level::default())?;
    Ok(Accumulated {
        level,
        sort,
        build_metadata,
    })
}

/// What all levels of one build share.
pub(crate) struct Context<'c, 't> {
    pub(crate) loader: &'c mut Loader<'t>,
    /// A schema that replaces the built-in one.
    pub(crate) schema: Option<MergeSchema>,
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
                error = error.at(file.clone(), 0);
                error.trail.insert(0, directory.clone());
                error
            })
        })
    }

    fn steps(&mut self, loaded: &Loaded, mut level: Level) -> Result<Level, BuildErrors> {
        refuse_unsupported(loaded)?;
        let mut tables = builtin_tables().clone();
        tables.merge(&level.tables)?;
        level.tables = Arc::new(tables);
        self.resources(loaded, &mut level)?;
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
            Entry::Resources(resources) => level.resources.append_all(resources)?,
            Entry::Directory(path) => {
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

    /// The output of a kustomization that holds configurations of plugins.
    pub(crate) fn configuration_directory(
        &mut self,
        loaded: &Loaded,
        path: &RepoPath,
    ) -> Result<Vec<Node>, BuildErrors> {
        let nested = self
            .loader
            .open_kind(&loaded.directory, path, Kind::Kustomization)?;
        let level = self.kustomization(&nested, Level::default())?;
        Ok(level
            .resources
            .into_inner()
            .into_iter()
            .map(Resource::into_node)
            .collect())
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
        let path = Loader::directory_entry(&loaded.directory, name)?;
        let component = self
            .loader
            .open_kind(&loaded.directory, &path, Kind::Component)?;
        self.nested_openapi(&component)?;
        *level = self.kustomization(&component, std::mem::take(level))?;
        Ok(())
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
            self.schema =
                openapi_schema(self.loader, loaded, loaded.kustomization.openapi.as_ref())?;
        }
        Ok(())
    }
}

impl Level {
    fn absorb(&mut self, base: Self) -> Result<(), BuildErrors> {
        self.resources.append_all(base.resources.into_inner())?;
        Arc::make_mut(&mut self.tables).merge(&base.tables)?;
        transform::vars::extend(&mut self.vars, base.vars)?;
        Ok(())
    }
}

fn refuse_unsupported(loaded: &Loaded) -> Result<(), BuildError> {
    if loaded.kustomization.has_helm_charts {
        let problem = Problem::Unsupported(
            "`helmCharts` is not supported: must specify --enable-helm".to_owned(),
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
    openapi: Option<&OpenApi>,
) -> Result<Option<MergeSchema>, BuildErrors> {
    let Some(openapi) = openapi else {
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
        (path, "") => transform::config::openapi(loader, loaded, path).map(Some),
        _ => fail("`openapi` cannot have both `path` and `version`"),
    }
}
