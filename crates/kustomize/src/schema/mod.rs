//! Pure: what is known of kinds beforehand, as data: scopes, merge keys, and the fields that transformers touch.

mod comments;
mod fields;
mod merge;

use std::sync::{Arc, OnceLock};

pub(crate) use comments::SchemaComments;
pub(crate) use fields::{FieldPath, FieldSpec, FieldTables, NameReference, Rows, Segment};
pub(crate) use merge::{ListMerge, MergeSchema, Position};

use crate::gvk::Gvk;

/// True only for the exact kinds that Kubernetes v1.21 has as cluster-scoped, and a few that kustomize adds.
/// Every custom resource counts as namespaced.
pub(crate) fn is_cluster_scoped(gvk: &Gvk) -> bool {
    MergeSchema::builtin().is_cluster_scoped(gvk)
}

/// True for the kinds whose scope is known beforehand.
pub(crate) fn is_known_kind(gvk: &Gvk) -> bool {
    MergeSchema::builtin().is_known(gvk)
}

/// The field tables that kustomize begins with.
pub(crate) fn builtin_tables() -> &'static Arc<FieldTables> {
    static TABLES: OnceLock<Arc<FieldTables>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let text = include_str!("fieldspecs.yaml");
        Arc::new(
            FieldTables::parse_builtin(text).expect("the embedded table is valid; a test reads it"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_data_reads() {
        assert!(builtin_tables().name_references.len() > 10);
        assert!(is_cluster_scoped(&Gvk::new("v1", "Namespace")));
        assert!(!is_cluster_scoped(&Gvk::new("v1", "Secret")));
        assert!(!is_cluster_scoped(&Gvk::new(
            "external-secrets.io/v1",
            "ClusterSecretStore"
        )));
    }
}
