//! A double of the EKS Pod Identity agent, and of the metadata of an instance: the same answers as on
//! `169.254.170.23` and `169.254.169.254`, on loopback, with credentials that expire soon, so that the paths used on
//! EKS are the paths tested.
//!
//! The agent compares the `Authorization` header with a token file, as on EKS, where the kubelet renews that file.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde_json::json;
use tempfile::TempDir;

use crate::server::{Server, serve};

/// A running agent. Dropped, it stops.
#[derive(Debug)]
pub struct PodIdentityAgent {
    server: Server,
    directory: TempDir,
    issued: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Shared {
    token: PathBuf,
    lifetime: Duration,
    issued: Arc<AtomicUsize>,
}

impl PodIdentityAgent {
    /// Starts one whose credentials live so long.
    pub fn start(lifetime: Duration) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let token = directory.path().join("token");
        std::fs::write(&token, "pod-identity-token-1")?;
        let issued = Arc::new(AtomicUsize::new(0));
        let shared = Shared {
            token,
            lifetime,
            issued: issued.clone(),
        };
        let server = serve(
            Router::new()
                .route("/v1/credentials", get(credentials))
                .route("/latest/api/token", put(session))
                .route("/latest/meta-data/iam/security-credentials/", get(role))
                .route(
                    "/latest/meta-data/iam/security-credentials/node",
                    get(instance),
                )
                .with_state(shared),
            None,
        )?;
        Ok(Self {
            server,
            directory,
            issued,
        })
    }

    /// The environment that the EKS webhook gives to a pod.
    ///
    /// The SDK takes credentials over plain HTTP from loopback only, which this address is.
    pub fn environment(&self) -> [(String, String); 2] {
        let uri = format!(
            "http://127.0.0.1:{}/v1/credentials",
            self.server.address.port()
        );
        let file = self.directory.path().join("token").display().to_string();
        [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), uri),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE".to_owned(), file),
        ]
    }

    /// Lets a program see AWS as a pod on EKS does, at an address of ours, with no other credentials.
    pub fn give_to(&self, command: &mut Command, url: &str) {
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
        ] {
            command.env_remove(name);
        }
        command
            .envs(self.environment())
            .env("AWS_ENDPOINT_URL", url)
            .env("AWS_EC2_METADATA_DISABLED", "true");
    }

    /// The environment of a pod that asks the instance that it is on.
    pub fn instance_environment(&self) -> [(String, String); 2] {
        let url = format!("http://127.0.0.1:{}", self.server.address.port());
        [
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), url),
            ("AWS_EC2_METADATA_DISABLED".to_owned(), "false".to_owned()),
        ]
    }

    /// How many credentials were given out.
    pub fn issued(&self) -> usize {
        self.issued.load(Ordering::Relaxed)
    }

    /// Renews the token on disk; the old one is refused from now on.
    ///
    /// A client must read the file again for each request, or it fails from now on.
    pub fn rotate_token(&self) -> Result<()> {
        Ok(std::fs::write(
            self.directory.path().join("token"),
            format!("pod-identity-token-{}", self.issued() + 2),
        )?)
    }
}

/// Answers with credentials if the token is the one on disk, and else with 401.
async fn credentials(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let wanted = std::fs::read_to_string(&shared.token).unwrap_or_default();
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if given != Some(wanted.trim()) {
        return (StatusCode::UNAUTHORIZED, "the token is not the one on disk").into_response();
    }
    issue(&shared)
}

/// The next credentials.
fn issue(shared: &Shared) -> Response {
    let number = shared.issued.fetch_add(1, Ordering::Relaxed) + 1;
    let expiration = rfc3339(SystemTime::now() + shared.lifetime);
    let body = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": rfc3339(SystemTime::now()),
        "AccessKeyId": format!("ASIATESTBED{number:09}"),
        "SecretAccessKey": format!("test-bed-secret-{number}"),
        "Token": format!("test-bed-session-{number}"),
        "Expiration": expiration,
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

/// A session with the metadata of an instance.
async fn session() -> Response {
    const LIFETIME: (&str, &str) = ("x-aws-ec2-metadata-token-ttl-seconds", "21600");
    ([LIFETIME], "session").into_response()
}

async fn role() -> &'static str {
    "node"
}

async fn instance(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let token = headers.get("x-aws-ec2-metadata-token");
    if token.is_none_or(|token| token != "session") {
        return (StatusCode::UNAUTHORIZED, "no session").into_response();
    }
    issue(&shared)
}

/// `2026-01-02T03:04:05Z`, by the civil calendar.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counts from 1 March of year 0, where leap days come last in a cycle of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_aws_writes_them() {
        let at = |seconds| rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
