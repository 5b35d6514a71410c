//! Pure: checks that a call of a webhook comes from a holder of the token, and is about an event that the receiver wants.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use crate::api::receiver::{ReceiverSpec, ReceiverType};

/// Why a call is refused. No text tells what would be right, since the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not signed with the token.
    #[error("the signature is missing or wrong")]
    Signature,
    /// GitLab sends the token itself.
    #[error("the token is missing or wrong")]
    Token,
    /// The name of the event, of which control characters and all beyond 60 characters are left out.
    #[error("event `{0}` is not one of `spec.events`")]
    Event(String),
    /// The type of the receiver.
    #[error("receivers of this type are not supported yet")]
    Unsupported,
}

/// The path of a receiver, `/hook/DIGEST`, as Flux makes it. The digest covers the token, so the path cannot be guessed
/// without it.
pub fn path(token: &[u8], name: &str, namespace: &str) -> String {
    let mut hash = Sha256::default();
    hash.update(token);
    hash.update(name);
    hash.update(namespace);
    let digest = data_encoding::HEXLOWER.encode(&hash.finalize());
    format!("/hook/{digest}")
}

/// Checks a call: the signature or token as the type of the receiver demands, and the event where the type sends one.
///
/// # Errors
/// The call is refused.
pub fn verify(
    type_: ReceiverType,
    token: &[u8],
    events: &[String],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), Refusal> {
    match type_ {
        ReceiverType::Generic => Ok(()),
        ReceiverType::GenericHmac => signed(token, text(headers, "x-signature"), body),
        ReceiverType::Github => {
            let strong = text(headers, "x-hub-signature-256");
            let signature = if strong.is_empty() {
                text(headers, "x-hub-signature")
            } else {
                strong
            };
            signed(token, signature, body)?;
            wanted(events, text(headers, "x-github-event"))
        }
        ReceiverType::Gitlab => {
            // Digests are compared, so that the time of the comparison tells nothing about the token.
            let given = Sha256::digest(text(headers, "x-gitlab-token"));
            if given != Sha256::digest(token) {
                return Err(Refusal::Token);
            }
            wanted(events, text(headers, "x-gitlab-event"))
        }
        _ => Err(Refusal::Unsupported),
    }
}

/// Why overlayd does not serve a receiver, if its spec alone says so.
pub fn unsupported_receiver(spec: &ReceiverSpec) -> Option<&'static str> {
    use ReceiverType::{Generic, GenericHmac, Github, Gitlab};
    let is_known = matches!(spec.type_, Generic | GenericHmac | Github | Gitlab);
    (!is_known).then_some(
        "receivers of this type are not supported yet; there are github, gitlab, generic-hmac and generic",
    )
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    let value = headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// `ALGORITHM=HEX`, compared in constant time.
fn signed(token: &[u8], signature: &str, body: &[u8]) -> Result<(), Refusal> {
    let (algorithm, hex) = signature.split_once('=').ok_or(Refusal::Signature)?;
    let given = bytes(hex).ok_or(Refusal::Signature)?;
    macro_rules! verify {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(token).map_err(|_| Refusal::Signature)?;
            mac.update(body);
            mac.verify_slice(&given).map_err(|_| Refusal::Signature)
        }};
    }
    match algorithm {
        "sha1" => verify!(Sha1),
        "sha256" => verify!(Sha256),
        "sha512" => verify!(Sha512),
        _ => Err(Refusal::Signature),
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(hex.as_bytes())
        .ok()
}

fn wanted(events: &[String], event: &str) -> Result<(), Refusal> {
    let is_wanted = events.is_empty()
        || events
            .iter()
            .any(|wanted| wanted.eq_ignore_ascii_case(event));
    if is_wanted {
        Ok(())
    } else {
        // The caller chose the text, so it is cleaned and cut before it is logged.
        Err(Refusal::Event(
            event
                .chars()
                .filter(|letter| !letter.is_control())
                .take(60)
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"Hello, World!";
    const TOKEN: &[u8] = b"It's a Secret to Everybody";
    /// GitHub's own example of a signature.
    const SIGNATURE: &str =
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(
        type_: ReceiverType,
        headers: &[(&'static str, &str)],
        expected: &Result<(), Refusal>,
    ) {
        let headers = headers.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_str(value).unwrap(),
            )
        });
        let result = verify(type_, TOKEN, &["Push".to_owned()], &headers.collect(), BODY);
        assert_eq!(&result, expected);
    }

    #[test]
    fn who_knows_the_token_is_taken_at_his_word() {
        use ReceiverType::{Generic, GenericHmac, GenericOidc, Github, Gitlab};
        let event = Refusal::Event("ping".to_owned());
        check(
            Github,
            &[
                ("x-hub-signature-256", SIGNATURE),
                ("x-github-event", "push"),
            ],
            &Ok(()),
        );
        check(
            Github,
            &[("x-hub-signature", SIGNATURE), ("x-github-event", "push")],
            &Ok(()),
        );
        check(
            Github,
            &[
                ("x-hub-signature-256", SIGNATURE),
                ("x-github-event", "ping"),
            ],
            &Err(event),
        );
        check(
            Github,
            &[("x-github-event", "push")],
            &Err(Refusal::Signature),
        );
        check(
            Github,
            &[("x-hub-signature-256", &SIGNATURE.replace('7', "8"))],
            &Err(Refusal::Signature),
        );
        check(
            Github,
            &[("x-hub-signature-256", "sha256=no hex")],
            &Err(Refusal::Signature),
        );
        check(
            Github,
            &[("x-hub-signature-256", "md5=00")],
            &Err(Refusal::Signature),
        );
        check(GenericHmac, &[("x-signature", SIGNATURE)], &Ok(()));
        check(
            GenericHmac,
            &[("x-signature", SIGNATURE.get(..20).unwrap())],
            &Err(Refusal::Signature),
        );
        let token = std::str::from_utf8(TOKEN).unwrap();
        check(
            Gitlab,
            &[("x-gitlab-token", token), ("x-gitlab-event", "PUSH")],
            &Ok(()),
        );
        check(
            Gitlab,
            &[("x-gitlab-token", "other"), ("x-gitlab-event", "push")],
            &Err(Refusal::Token),
        );
        check(Generic, &[], &Ok(()));
        check(GenericOidc, &[], &Err(Refusal::Unsupported));
    }

    #[test]
    fn the_address_follows_the_token() {
        // sha256 of `tokenappteam`
        assert_eq!(
            path(b"token", "app", "team"),
            "/hook/".to_owned() + &data_encoding::HEXLOWER.encode(&Sha256::digest(b"tokenappteam"))
        );
        assert_ne!(path(b"token", "app", "team"), path(b"other", "app", "team"));
    }
}
