//! Pure: what the steps of one kustomization work on, and what all kustomizations of a build share.

use std::sync::Arc;

use crate::error::{BuildError, BuildErrors, Problem};
use crate::kustomization::Var;
use crate::load::{Loaded, Loader};
use crate::resource::{ConfiguredBy, Origin, ResMap};
use crate::schema::{FieldTables, MergeSchema, builtin_tables};

/// What is known at one level: its resources, the field tables in force, and the vars so far.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    /// The objects so far, in the order of the output with `fifo`.
    pub(crate) resources: ResMap,
    /// The field tables: the built-in ones with those of `configurations` and `crds`.
    pub(crate) tables: Arc<FieldTables>,
    /// The vars of this level and of those below.
    pub(crate) vars: Vec<Var>,
}

/// What the root's `buildMetadata` asks for. Unknown words ask for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BuildMetadata {
    /// `managedByLabel`: every object gets the label `app.kubernetes.io/managed-by`.
    pub(crate) managed_by: bool,
    /// `originAnnotations`: every object says where it came from.
    pub(crate) origins: bool,
    /// `transformerAnnotations`: every object says which transformers ran over it.
    pub(crate) transformations: bool,
}

impl BuildMetadata {
    /// Reads the words of `buildMetadata`.
    pub(crate) fn of(words: &[String]) -> Self {
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        Self {
            managed_by: has("managedByLabel"),
            origins: has("originAnnotations"),
            transformations: has("transformerAnnotations"),
        }
    }
}

/// What all levels of one build share.
pub(crate) struct Context<'c, 't> {
    /// Reads files and directories.
    pub(crate) loader: &'c mut Loader<'t>,
    /// A schema that replaces the built-in one.
    pub(crate) schema: Option<MergeSchema>,
    /// What the root asks for; bases do not decide.
    pub(crate) metadata: BuildMetadata,
}

impl Context<'_, '_> {
    /// The schema that decides how lists are merged.
    pub(crate) fn schema(&self) -> &MergeSchema {
        self.schema
            .as_ref()
            .unwrap_or_else(|| MergeSchema::builtin())
    }

    /// Says of every object that a transformer ran, where the root asks for it.
    ///
    /// # Errors
    /// The annotations of all objects would take more than the budget.
    pub(crate) fn ran(
        &self,
        level: &mut Level,
        by: impl FnOnce() -> Origin,
    ) -> Result<(), Problem> {
        let budget = self.loader.budget;
        budget.charge_steps(level.resources.len())?;
        if !(self.metadata.transformations || self.metadata.origins) {
            return Ok(());
        }
        let by = Arc::new(by());
        if self.metadata.transformations {
            // The annotation has some lines for each transformer, one of them with its path.
            let lines = 128 + by.path.as_str().len();
            budget.charge_bytes(level.resources.len().saturating_mul(lines))?;
        }
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
        Ok(())
    }

    /// Says the same of a transformer that a field of a kustomization stands for.
    ///
    /// # Errors
    /// The annotations of all objects would take more than the budget.
    pub(crate) fn ran_builtin(
        &self,
        loaded: &Loaded,
        level: &mut Level,
        kind: &str,
    ) -> Result<(), Problem> {
        self.ran(level, || Origin {
            file: self.loader.show(&loaded.file),
            path: loaded.file.clone(),
            configured_by: Some(ConfiguredBy::builtin(kind)),
        })
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
    /// Takes over a base: its objects, tables and vars. An object or var that is there already is an error.
    pub(crate) fn absorb(&mut self, base: Self) -> Result<(), BuildErrors> {
        self.resources.append_all(base.resources.into_inner())?;
        // Most bases have the tables that everything begins with.
        if !Arc::ptr_eq(&self.tables, &base.tables) && !Arc::ptr_eq(builtin_tables(), &base.tables)
        {
            Arc::make_mut(&mut self.tables).merge(&base.tables)?;
        }
        extend_vars(&mut self.vars, base.vars)?;
        Ok(())
    }
}

/// Adds vars to others; a name may come only once.
pub(crate) fn extend_vars(vars: &mut Vec<Var>, more: Vec<Var>) -> Result<(), BuildErrors> {
    for var in more {
        if vars.iter().any(|other| other.name == var.name) {
            let message = format!("var '{}' already encountered", var.name);
            let error = BuildError::from(Problem::Transform(message)).field("vars");
            let error = match &var.place {
                Some(place) => error.at(place.file.clone(), place.line),
                None => error,
            };
            let error = error.hint("the names of vars are distinct in the whole build");
            return Err(error.into());
        }
        vars.push(var);
    }
    Ok(())
}
