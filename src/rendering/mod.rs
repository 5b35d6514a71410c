//! Pure: from a directory of a source to manifests, where a Kustomization asks for more than its files say.
//!
//! [`amend`] puts the spec's fields into the kustomization file, or makes one for a plain folder; [`substitute`] puts
//! variables into what was built.

pub(crate) mod amend;
pub(crate) mod substitute;
