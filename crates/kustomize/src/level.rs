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
    pub(crate) resources: ResMap,
    pub(crate) tables: Arc<FieldTables>,
    pub(crate) vars: Vec<Var>,
}

/// What the root's `buildMetadata` asks for. Unknown words ask for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BuildMetadata {
    pub(crate) managed_by: bool,
    pub(crate) origins: bool,
    pub(crate) transformations: bool,
}

impl BuildMetadata {
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
    pub(crate) loader: &'c mut Loader<'t>,
    /// A schema that replaces the built-in one.
    pub(crate) schema: Option<MergeSchema>,
    pub(crate) metadata: BuildMetadata,
}

impl Context<'_, '_> {
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
