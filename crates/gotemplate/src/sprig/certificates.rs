//! Pure but for the generator of keys: private keys and certificates.

use crate::functions::Row;

pub(crate) const ROWS: &[Row] = &[];
