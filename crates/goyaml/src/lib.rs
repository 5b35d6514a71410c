//! Pure: the YAML of Kubernetes manifests, read and printed as Go's packages do.
//!
//! Text becomes a tree of [`Node`]s ([`read()`]), which keeps the text and the type of every scalar;
//! a tree becomes text again ([`print()`]) in the one form that `sigs.k8s.io/yaml` prints: sorted
//! keys, two spaces, lists not indented under their key, lines folded at 80.
//!
//! ```
//! let documents = goyaml::read("b: yes\na: 0755\n", &goyaml::ReadOptions::default())?;
//! assert_eq!(goyaml::print(&documents[0])?, "a: 493\nb: \"yes\"\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nodes share their parts: a clone costs a reference count, and a change copies only the path to it.
#![warn(missing_docs)]
// A cut at a byte inside a letter panics, and texts come from strangers.
#![warn(clippy::string_slice)]
#![doc(test(attr(deny(warnings))))]

mod error;
mod fold;
mod json;
mod layout;
mod natural;
mod node;
mod number;
mod print;
mod read;
mod scalar;
mod timestamp;

pub use error::{PrintError, ReadError};
pub use fold::settle_folds;
pub use json::{from_json, to_json};
pub use layout::Layout;
pub use natural::natural_order;
pub use node::{Entry, Mapping, NOT_A_STRING, Node, NodeKind, Sequence};
pub use number::{format_float, shortest};
pub use print::{check, print, print_all, print_into};
pub use read::{Booleans, DuplicateKeys, Keys, Limits, ReadOptions, read, split_documents};
pub use scalar::{Meaning, Scalar, Tag, Text, resolve};
