//! Pure: the parts of Go's standard library whose syntax the peers promise to their users.
//!
//! kustomize, Flux and External Secrets are written in Go, so their regular expressions have the syntax of
//! [Go's `regexp/syntax`](https://pkg.go.dev/regexp/syntax). Each module takes the text that Go takes, refuses the
//! text that Go refuses, and gives the error in Go's words.
//!
//! - [`base64`]: decoding, with the offsets of Go's errors.
//! - [`duration`]: `time.ParseDuration` and `Duration.String`.
//! - [`regex`]: regular expressions and the replacement templates of `Regexp.Expand`.
//! - [`semver`]: versions and ranges, of Masterminds' package, which all peers use.
#![warn(missing_docs)]
// A cut at a byte inside a letter panics, and texts come from strangers.
#![warn(clippy::string_slice)]

pub mod base64;
pub mod duration;
pub mod regex;
pub mod semver;
