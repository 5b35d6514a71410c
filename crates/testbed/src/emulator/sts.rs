//! STS: sessions of roles, which expire, and the role that each session belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Fault, Refusal};
use crate::pod_identity::rfc3339;

/// The sessions that were given out.
///
/// An access key that does not look like one of ours counts as a user with every permission and no end.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) lifetime: Duration,
    pub(super) requests: Vec<BTreeMap<String, String>>,
    pub(super) seen: BTreeSet<String>,
    /// By access key: the role, and the end.
    given: BTreeMap<String, (String, SystemTime)>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(3600),
            requests: Vec::new(),
            seen: BTreeSet::new(),
            given: BTreeMap::new(),
        }
    }
}

/// How keys of sessions begin.
const PREFIX: &str = "ASIAEMULATOR";

/// The access key in `AWS4-HMAC-SHA256 Credential=KEY/date/region/service/aws4_request, …`.
pub(super) fn access_key(authorization: &str) -> String {
    let credential = authorization.split("Credential=").nth(1);
    let key = credential.and_then(|credential| credential.split('/').next());
    key.unwrap_or_default().to_owned()
}

/// The action of a request in the query protocol.
pub(super) fn action(body: &[u8]) -> String {
    parameters(body).remove("Action").unwrap_or_default()
}

fn parameters(body: &[u8]) -> BTreeMap<String, String> {
    let pairs = url::form_urlencoded::parse(body);
    pairs
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}

impl Sessions {
    /// Refuses an expired session, and records the caller of each read.
    pub(super) fn check(&mut self, key: &str) -> Result<(), Refusal> {
        self.look(key)?;
        let role = self.given.get(key).map(|(role, _)| role.clone());
        self.seen.insert(role.unwrap_or_else(|| key.to_owned()));
        Ok(())
    }

    /// Refuses a session that has ended or was never given out.
    fn look(&self, key: &str) -> Result<(), Refusal> {
        let refuse = |code, message: &str| {
            Err(Refusal {
                code,
                message: message.to_owned(),
            })
        };
        match self.given.get(key) {
            Some((_, end)) if *end <= SystemTime::now() => {
                refuse("ExpiredTokenException", "the session is over")
            }
            None if key.starts_with(PREFIX) => {
                refuse("UnrecognizedClientException", "the session is not known")
            }
            _ => Ok(()),
        }
    }

    /// Gives out a session, and records who asked with which parameters (`By` is the role or key of the caller).
    pub(super) fn answer(
        &mut self,
        action: &str,
        body: &[u8],
        key: &str,
        fault: Option<Fault>,
    ) -> Response {
        let mut request = parameters(body);
        let role = request.get("RoleArn").cloned().unwrap_or_default();
        let by = self.given.get(key).map_or(key, |(role, _)| role);
        request.insert("By".to_owned(), by.to_owned());
        self.requests.push(request);
        let refused = match fault {
            Some(Fault::AccessDenied) => Some((StatusCode::FORBIDDEN, "AccessDenied")),
            Some(Fault::Throttling) => Some((StatusCode::BAD_REQUEST, "Throttling")),
            Some(_) => Some((StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure")),
            None => match self.look(key) {
                Err(refusal) if action == "AssumeRole" => {
                    Some((StatusCode::FORBIDDEN, refusal.code))
                }
                _ => None,
            },
        };
        if let Some((status, code)) = refused {
            let text = format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>the emulator was told to refuse</Message></Error></ErrorResponse>"
            );
            return (status, [(header::CONTENT_TYPE, "text/xml")], text).into_response();
        }
        let number = self.given.len() + 1;
        let key = format!("{PREFIX}{number:08}");
        let end = SystemTime::now() + self.lifetime;
        self.given.insert(key.clone(), (role.clone(), end));
        let text = format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
             <AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>{role}</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>t{number}</SessionToken><Expiration>{}</Expiration></Credentials>\
             </{action}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>",
            rfc3339(end)
        );
        ([(header::CONTENT_TYPE, "text/xml")], text).into_response()
    }
}
