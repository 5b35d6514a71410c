//! Pure: which requests may be sent to the API server, by their paths.
//!
//! The client makes a path out of names that anybody can write into a spec, and escapes nothing. A Secret of the name
//! `../../other/secrets/db`, or a Service of the name `web:80/proxy/admin`, would be a request for something else, with
//! the rights of the daemon. Names are checked where they are read ([`check_name`]), and every request is checked here, so
//! that no name that was forgotten leads anywhere.

use http::Method;

use crate::names::is_dns_subdomain;

/// A name that no object can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{field}: {name}` is no name of an object: lower-case letters, digits, `-` and `.` are allowed"
)]
pub struct InvalidName {
    /// The path of the field.
    pub field: String,
    /// Its value, cut where it is long.
    pub name: String,
}

/// A request that is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestPathError {
    /// A part of the path is empty, leads elsewhere, or is escaped.
    #[error("the path of a request to the API server holds a part that is no name")]
    Part,
    /// The path is longer than that of an object, so a name holds a `/`.
    #[error("the path of a request to the API server names more than an object")]
    TooLong,
    /// A subresource that overlayd never uses.
    #[error("a request to the API server asks for `{0}` of an object, which overlayd never does")]
    Subresource(String),
    /// A name holds a `?`.
    #[error("a name brings parameters into a request to the API server")]
    Query,
}

/// Checks a name that a field of a spec gives.
///
/// # Errors
/// No object can have this name.
pub fn check_name(field: impl Into<String>, name: &str) -> Result<(), InvalidName> {
    /// No more of a name is shown.
    const SHOWN: usize = 80;
    if is_dns_subdomain(name) {
        return Ok(());
    }
    let is_shown = |letter: &char| !letter.is_control();
    Err(InvalidName {
        field: field.into(),
        name: name.chars().filter(is_shown).take(SHOWN).collect(),
    })
}

/// Checks a request by its method, path and query.
///
/// # Errors
/// The request is for something else than an object, a list, a known subresource, or what the server says of itself.
pub fn check_request(
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Result<(), RequestPathError> {
    let shape = shape(path)?;
    // The client appends its parameters with another `?`.
    if query.is_some_and(|query| query.contains('?')) {
        return Err(RequestPathError::Query);
    }
    let is_version = |pair: &str| pair.is_empty() || pair.starts_with("resourceVersion=");
    let mut pairs = query.unwrap_or_default().split('&');
    // A read of one object has no parameter; `watch=true` would make it a stream without an end.
    if *method == Method::GET && shape == Shape::Object && !pairs.all(is_version) {
        return Err(RequestPathError::Query);
    }
    Ok(())
}

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Object,
    /// A list, or what the server says of itself.
    Other,
}

fn shape(path: &str) -> Result<Shape, RequestPathError> {
    let parts: Vec<&str> = path
        .trim_start_matches('/')
        .trim_end_matches('/')
        .split('/')
        .collect();
    let is_bad = |part: &&str| matches!(*part, "" | "." | "..") || part.contains(['%', '\\', ';']);
    // Versions, health and the like hold no names.
    let (["api", _, below @ ..] | ["apis", _, _, below @ ..]) = parts.as_slice() else {
        return Ok(Shape::Other);
    };
    if parts.iter().any(is_bad) {
        return Err(RequestPathError::Part);
    }
    let below = match below {
        ["namespaces", _, "status"] => return Ok(Shape::Object),
        ["namespaces", _, below @ ..] if !below.is_empty() => below,
        below => below,
    };
    match below {
        [] | [_] => Ok(Shape::Other),
        [_, _] | [_, _, "status" | "token"] => Ok(Shape::Object),
        [_, _, other] => Err(RequestPathError::Subresource((*other).to_owned())),
        _ => Err(RequestPathError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        for name in ["a", "db-0", "a.b.example.com", "0"] {
            assert_eq!(check_name("f", name), Ok(()), "{name}");
        }
        let long = "a".repeat(254);
        for name in [
            "",
            "A",
            "-a",
            "a-",
            "a..b",
            "a_b",
            "a/b",
            "x:80/proxy/path",
            "../other",
            "a?watch=true",
            "a#b",
            "a%2fb",
            "ä",
            &long,
        ] {
            assert!(check_name("f", name).is_err(), "{name}");
        }
        let error = check_name("spec.secretRef.name", "../\u{7}x").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`spec.secretRef.name: ../x` is no name of an object"),
            "{error}"
        );
        let error = check_name("f", &"/".repeat(1000)).unwrap_err();
        assert_eq!(error.name.len(), 80);
        assert_eq!(check_name("f", "a"), Ok(()));
    }

    #[track_caller]
    fn check(path: &str, expected: &Result<(), RequestPathError>) {
        for method in [Method::GET, Method::PATCH] {
            assert_eq!(&check_request(&method, path, None), expected, "{path}");
        }
    }

    #[test]
    fn requests_for_objects_are_sent() {
        for path in [
            "/version",
            "/api",
            "/apis",
            "/apis/apps/v1",
            "/openapi/v3/apis/apps/v1",
            "/api/v1/namespaces",
            "/api/v1/namespaces/team",
            "/api/v1/namespaces/team/status",
            "/api/v1/namespaces/team/secrets",
            "/api/v1/namespaces/team/secrets/db",
            "/api/v1/namespaces/team/serviceaccounts/app/token",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:aggregate-to-view",
            "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/team/kustomizations/app/status",
            "/apis/apps/v1/deployments",
        ] {
            check(path, &Ok(()));
        }
        assert_eq!(
            check_request(
                &Method::GET,
                "/api/v1/pods",
                Some("labelSelector=a%3Db&limit=5&watch=true")
            ),
            Ok(())
        );
        let object = "/api/v1/namespaces/team/secrets/db";
        for (method, query) in [
            (Method::GET, "resourceVersion=7"),
            (Method::PATCH, "fieldManager=a&force=true"),
        ] {
            assert_eq!(check_request(&method, object, Some(query)), Ok(()));
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        use RequestPathError::{Part, Query, Subresource, TooLong};
        check(
            "/api/v1/namespaces/team/secrets/../../other/secrets/db",
            &Err(Part),
        );
        check("/api/v1/namespaces/../secrets/db", &Err(Part));
        check("/api/v1/namespaces/team/secrets//db", &Err(Part));
        check("/api/v1/namespaces/team/secrets/a%2f..%2fb", &Err(Part));
        check("/apis/../v1/secrets", &Err(Part));
        let proxy = Subresource("proxy".to_owned());
        check("/api/v1/namespaces/team/services/x:80/proxy", &Err(proxy));
        check(
            "/api/v1/namespaces/team/services/x:80/proxy/path",
            &Err(TooLong),
        );
        let exec = Subresource("exec".to_owned());
        check("/api/v1/namespaces/team/pods/web/exec", &Err(exec));
        check(
            "/api/v1/namespaces/team/secrets/a/token/token",
            &Err(TooLong),
        );
        check(
            "/apis/apps/v1/namespaces/a/secrets/x/deployments/web",
            &Err(TooLong),
        );
        for (method, query) in [
            (Method::PATCH, "dryRun=All?&force=true"),
            (Method::GET, "watch=true"),
        ] {
            let object = "/api/v1/namespaces/team/secrets/x";
            assert_eq!(check_request(&method, object, Some(query)), Err(Query));
        }
    }
}
