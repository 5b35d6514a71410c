//! Pure: Go's `text/template`, for the templates of ExternalSecrets.
