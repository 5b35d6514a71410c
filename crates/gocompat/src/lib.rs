//! Pure: the parts of Go's standard library whose syntax the peers promise to their users.
//!
//! kustomize, Flux and External Secrets are written in Go, so their regular expressions have the syntax of
//! [Go's `regexp/syntax`](https://pkg.go.dev/regexp/syntax). Each module takes the text that Go takes, refuses the
//! text that Go refuses, and gives the error in Go's words.
//!
//! - [`regex`]: regular expressions and the replacement templates of `Regexp.Expand`.
#![warn(missing_docs)]

pub mod regex;
