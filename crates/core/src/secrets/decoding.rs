//! Pure: `decodingStrategy`: values that a store holds in base64.

use gocompat::base64::{self, Alphabet};

use crate::api::external_secret::DecodingStrategy;
use crate::secrets::SecretValue;

/// Decodes a value. `Auto` leaves a value as it is that is not base64.
///
/// # Errors
/// The name of the encoding that the value is not in.
pub fn decoded(
    strategy: DecodingStrategy,
    value: SecretValue,
) -> Result<SecretValue, &'static str> {
    let standard = || base64::decode(value.expose(), Alphabet::Standard);
    let for_urls = || base64::decode(value.expose(), Alphabet::UrlSafe);
    let (decoded, encoding) = match strategy {
        DecodingStrategy::None => return Ok(value),
        DecodingStrategy::Auto => {
            let decoded = standard().or_else(|_| for_urls());
            return Ok(decoded.map_or_else(|_| value.clone(), SecretValue::from));
        }
        DecodingStrategy::Base64 => (standard(), "base64"),
        DecodingStrategy::Base64Url => (for_urls(), "base64 for URLs"),
    };
    decoded.map(SecretValue::from).map_err(|_| encoding)
}
