//! Pure: from a directory of a source to manifests, where a Kustomization asks for more than its files say.
//!
//! [`spec_overlay`] puts the spec's fields into the kustomization file, or generates a file for a plain folder;
//! [`substitution`] puts variables into what was built; [`variable_index`] knows who reads which variables.

mod glob;
pub mod spec_overlay;
pub mod substitution;
pub mod variable_index;
