//! Pure: secret bytes: zeroed when dropped, printed as `***`, opened by one method.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A secret value, whose bytes are shared by its clones and zeroed with the last of them. It has no `Display` and no `Serialize`, and its `Debug` shows nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    /// The bytes. The caller is responsible for where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_be_printed() {
        let value = SecretValue::from(b"canary".to_vec());
        assert_eq!(format!("{value:?} {:?}", Some(&value)), "*** Some(***)");
    }
}
