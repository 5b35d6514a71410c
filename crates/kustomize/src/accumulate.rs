//! Pure: one kustomization after the other, from the bottom up: resources, generators, components, transformers.
//!
//! ```text
//! directory ─open→ Kustomization ─resources→ Level ─generators→ ─components→ ─transformers→ Level
//! ```
//! A base is accumulated completely before its overlay; a component works on what its overlay has so far.

use std::sync::Arc;

use crate::error::{BuildError, BuildErrors, Errors, Place, Problem};
use crate::kustomization::{Kind, SortOptions};
use crate::level::{BuildMetadata, Context, Level};
use crate::load::{Entry, Loaded, Loader};
use crate::path::RepoPath;
use crate::plugins::{self, Plugin};
use crate::resource::Resource;
use crate::schema::{MergeSchema, is_known_kind};
use crate::{generate, openapi, tables, transform};

/// The root level, with what only the root's file decides.
pub(crate) struct Accumulated {
    /// What was built.
    pub(crate) level: Level,
    /// The order that the root gives.
    pub(crate) sort: Option<SortOptions>,
    /// What the root wants to be noted on the objects.
    pub(crate) metadata: BuildMetadata,
    /// The directory of the root, to which origins are relative.
    pub(crate) root: RepoPath,
}

/// Accumulates the kustomization at the root of the build.
pub(crate) fn root(
    loader: &mut Loader<'_>,
    directory: &RepoPath,
) -> Result<Accumulated, BuildErrors> {
    let loaded = loader.open(directory, &[])?;
    let sort = loaded.kustomization.sort.clone();
    let metadata = BuildMetadata::of(&loaded.kustomization.build_metadata);
    let schema =
        openapi_schema(loader, &loaded, None).map_err(|errors| located(errors, loader, &loaded))?;
    let mut accumulator = Accumulator {
        context: Context {
            loader,
            schema,
            metadata,
        },
        built_in_schema_used: false,
    };
    let level = accumulator.kustomization(&loaded, Level::default())?;
    Ok(Accumulated {
        level,
        sort,
        metadata,
        root: loaded.directory.path,
    })
}

/// Walks the kustomizations of one build.
struct Accumulator<'c, 't> {
    context: Context<'c, 't>,
    /// kustomize reads its built-in schema at the first object of a kind whose scope it does not know by heart.
    /// A custom schema that a base brings after that adds to it; one that comes before replaces it (openapi.go).
    built_in_schema_used: bool,
}

impl Accumulator<'_, '_> {
    /// Runs one kustomization on a level: empty for a base, what is there so far for a component.
    fn kustomization(&mut self, loaded: &Loaded, level: Level) -> Result<Level, BuildErrors> {
        let result = self.steps(loaded, level);
        result.map_err(|errors| located(errors, self.context.loader, loaded))
    }

    /// Applies one kustomization to a level, in kustomize's order (`kusttarget.go`): resources, generators, components,
    /// then the transformers, then the vars.
    fn steps(&mut self, loaded: &Loaded, mut level: Level) -> Result<Level, BuildErrors> {
        refuse_unsupported(loaded)?;
        self.resources(loaded, &mut level)?;
        // What is not fetched yet would only cause errors that mean nothing.
        if !self.context.loader.needs().is_empty() {
            return Err(Problem::NotFound("a remote resource is not fetched".to_owned()).into());
        }
        self.tables(loaded, &mut level)?;
        generate::run(&mut self.context, loaded, &mut level)?;
        let generators = self.plugins(loaded, "generators", &loaded.kustomization.generators)?;
        plugins::generators(&mut self.context, loaded, &mut level, &generators)?;
        self.components(loaded, &mut level)?;
        transform::run(&mut self.context, loaded, &mut level)?;
        let transformers =
            self.plugins(loaded, "transformers", &loaded.kustomization.transformers)?;
        plugins::transformers(&self.context, loaded, &mut level, &transformers)?;
        let validators = self.plugins(loaded, "validators", &loaded.kustomization.validators)?;
        plugins::validators(&self.context, loaded, &level, &validators)?;
        transform::vars::register(loaded, &mut level)?;
        Ok(level)
    }

    /// Appends each entry in order. Entries that fail do not hide each other.
    fn resources(&mut self, loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
        let mut errors = Errors::default();
        self.context
            .loader
            .parse_ahead(&loaded.directory, &loaded.kustomization.resources);
        for (index, name) in loaded.kustomization.resources.iter().enumerate() {
            let entry = self.resource(loaded, name, level);
            let field = loaded.kustomization.resource_field(index);
            errors
                .take(entry.map_err(|errors| {
                    errors.map(|error| error.field(format!("{field} `{name}`")))
                }));
        }
        errors.finish()
    }

    /// Reads an entry of `resources`: the objects of a file, or a base that is built and absorbed.
    fn resource(
        &mut self,
        loaded: &Loaded,
        name: &str,
        level: &mut Level,
    ) -> Result<(), BuildErrors> {
        match self
            .context
            .loader
            .resource_entry(&loaded.directory, name)?
        {
            None => {}
            Some(Entry::Resources(resources)) => {
                self.built_in_schema_used |= resources
                    .iter()
                    .any(|resource| !is_known_kind(&resource.id().gvk));
                level.resources.append_all(resources)?;
            }
            Some(Entry::Directory(path)) => {
                let base =
                    self.context
                        .loader
                        .open_kind(&loaded.directory, &path, Kind::Kustomization)?;
                self.nested_openapi(&base)?;
                let base = self.kustomization(&base, Level::default())?;
                level.absorb(base)?;
            }
        }
        Ok(())
    }

    /// Reads the entries of a plugin field: each is YAML in place, a file, or a kustomization whose output it is.
    fn plugins(
        &mut self,
        loaded: &Loaded,
        field: &str,
        entries: &[String],
    ) -> Result<Vec<Plugin>, BuildErrors> {
        let mut all = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let plugins = self.plugin_entry(loaded, entry).and_then(|plugins| {
                plugins.iter().try_for_each(Plugin::check_builtin)?;
                Ok(plugins)
            });
            let plugins = plugins
                .map_err(|errors| errors.map(|error| error.field(format!("{field}[{index}]"))));
            all.extend(
                plugins?
                    .into_iter()
                    .map(|plugin| plugin.named(field, index)),
            );
        }
        Ok(all)
    }

    /// The plugins of one entry.
    fn plugin_entry(&mut self, loaded: &Loaded, entry: &str) -> Result<Vec<Plugin>, BuildErrors> {
        if Plugin::is_inline(entry) {
            let shown = self.context.loader.show(&loaded.file);
            return Ok(Plugin::inline(entry, &shown, &loaded.file)?);
        }
        let resources = match self
            .context
            .loader
            .resource_entry(&loaded.directory, entry)?
        {
            None => Vec::new(),
            Some(Entry::Resources(resources)) => resources,
            Some(Entry::Directory(path)) => self.configuration_directory(loaded, &path)?,
        };
        let plugins = resources
            .into_iter()
            .map(|resource| Plugin::of(resource, entry, &loaded.file));
        Ok(plugins.collect())
    }

    /// The output of a kustomization that holds configurations of plugins.
    fn configuration_directory(
        &mut self,
        loaded: &Loaded,
        path: &RepoPath,
    ) -> Result<Vec<Resource>, BuildErrors> {
        let nested = self
            .context
            .loader
            .open_kind(&loaded.directory, path, Kind::Kustomization)?;
        let level = self.kustomization(&nested, Level::default())?;
        Ok(level.resources.into_inner())
    }

    /// Applies the components, one after another, to what was read so far.
    fn components(&mut self, loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
        for (index, name) in loaded.kustomization.components.iter().enumerate() {
            self.component(loaded, name, level).map_err(|errors| {
                errors.map(|error| error.field(format!("components[{index}] `{name}`")))
            })?;
        }
        Ok(())
    }

    /// Applies one component. It sees and changes the objects of the level itself.
    fn component(
        &mut self,
        loaded: &Loaded,
        name: &str,
        level: &mut Level,
    ) -> Result<(), BuildErrors> {
        let Some(path) = self
            .context
            .loader
            .directory_entry(&loaded.directory, name)?
        else {
            return Ok(());
        };
        let component = self
            .context
            .loader
            .open_kind(&loaded.directory, &path, Kind::Component)?;
        self.nested_openapi(&component)?;
        *level = self.kustomization(&component, std::mem::take(level))?;
        // kustomize appends the whole set anew after a component, which finds names that patches made equal.
        Ok(level.resources.refuse_repeated()?)
    }

    /// Adds the rows of `crds` and `configurations` to the tables of the level.
    fn tables(&mut self, loaded: &Loaded, level: &mut Level) -> Result<(), BuildErrors> {
        let configurations = tables::configurations(self.context.loader, loaded)?;
        let crds = tables::crds(self.context.loader, loaded)?;
        for tables in configurations.iter().chain(&crds) {
            Arc::make_mut(&mut level.tables).merge(tables)?;
        }
        Ok(())
    }

    /// The first schema found counts where the root has none.
    fn nested_openapi(&mut self, loaded: &Loaded) -> Result<(), BuildErrors> {
        if self.context.schema.is_none() {
            let built_in = self.built_in_schema_used.then(MergeSchema::builtin);
            let schema = openapi_schema(self.context.loader, loaded, built_in);
            self.context.schema =
                schema.map_err(|errors| located(errors, self.context.loader, loaded))?;
        }
        Ok(())
    }
}

/// Says of errors in which kustomization they are: its file and the line of the field, where no deeper place is known,
/// and else as part of the field.
fn located(errors: BuildErrors, loader: &Loader<'_>, loaded: &Loaded) -> BuildErrors {
    let directory = loader.show(&loaded.directory.path);
    let file = loader.show(&loaded.file);
    errors.map(|mut error| {
        let is_inner = error.trail.is_empty();
        let field = error.field.as_deref().unwrap_or_default();
        let line = loaded.kustomization.line_of(field);
        let elsewhere = error.place.as_ref().is_some_and(|place| place.file != file);
        if is_inner && elsewhere && !field.is_empty() {
            let place = Place {
                file: file.clone(),
                line,
            };
            error.field = Some(format!("{field} of {place}"));
        }
        error = error.at(file.clone(), line);
        error.trail.insert(0, directory.clone());
        error
    })
}

/// Refuses fields whose work needs other programs, such as `helmCharts`.
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

/// The schema that the field `openapi` names.
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
            .hint("name a schema by `path`, or leave `openapi` out for the built-in one")
            .into())
    };
    match (openapi.path.as_str(), openapi.version.as_str()) {
        ("", "") => Ok(None),
        ("", "v1.21.2" | "v1212") => Ok(None),
        ("", _) => fail("the specified OpenAPI version is not built in; only v1.21.2 is"),
        (path, "") => {
            let mut schema = openapi::openapi(loader, loaded, path, built_in)?;
            if let Some(built_in) = built_in {
                schema.add(built_in);
            }
            Ok(Some(schema))
        }
        _ => fail("`openapi` cannot have both `path` and `version`"),
    }
}
