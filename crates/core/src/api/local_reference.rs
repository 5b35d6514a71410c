//! Pure: the reference to an object of the same namespace, as several kinds have it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names an object of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LocalReference {
    /// Name of the object.
    pub name: String,
}
