//! Pure: objects on their way through a build, with what they were called before.

mod id;
mod index;
mod object;
mod set;

pub(crate) use id::{NON_NAMESPACEABLE, ResId, effective_namespace};
pub(crate) use index::Key;
pub(crate) use object::{
    ConfiguredBy, NEEDS_HASH, NOTE_PREFIX, Origin, Resource, check_key, set_metadata,
};
pub(crate) use set::ResMap;
