//! Pure: paths with slashes, and URLs.
//!
//! Paths are those of Go's package `path` and of `path/filepath` on Unix, which are alike, so `base` and `osBase` are
//! one function. URLs are those of sprig's `url.go` with Go's `net/url`; userinfo, query and opaque parts are kept as
//! they are written.

use crate::error::{Fault, Outcome, fault};
use crate::machine::Machine;
use crate::signature::{Row, text};
use crate::value::{Bytes, Value};

pub(crate) const ROWS: &[Row] = &[
    ("base", "s", |_, v| Ok(Value::str(base(&text(v, 0))))),
    ("osBase", "s", |_, v| Ok(Value::str(base(&text(v, 0))))),
    ("dir", "s", |_, v| Ok(Value::str(directory(&text(v, 0))))),
    ("osDir", "s", |_, v| Ok(Value::str(directory(&text(v, 0))))),
    ("clean", "s", |_, v| Ok(Value::str(clean(&text(v, 0))))),
    ("osClean", "s", |_, v| Ok(Value::str(clean(&text(v, 0))))),
    ("ext", "s", |_, v| Ok(Value::str(extension(&text(v, 0))))),
    ("osExt", "s", |_, v| Ok(Value::str(extension(&text(v, 0))))),
    ("isAbs", "s", |_, v| {
        Ok(Value::Bool(text(v, 0).starts_with('/')))
    }),
    ("osIsAbs", "s", |_, v| {
        Ok(Value::Bool(text(v, 0).starts_with('/')))
    }),
    ("urlParse", "s", url_parse),
    ("urlJoin", "d", url_join),
];

/// `path.Base`: `.` for an empty path, and `/` for slashes alone.
fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        None | Some("") => "/".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// `path.Dir`: all but the last element, cleaned.
fn directory(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    clean(path.strip_suffix(name).unwrap_or_default())
}

/// `path.Clean`: without `.`, doubled slashes and a slash at the end, and with `..` resolved as far as it goes. It
/// reads no disk, so a link in the path is taken for a folder.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.as_str()) {
        (true, joined) => format!("/{joined}"),
        (false, "") => ".".to_owned(),
        (false, joined) => joined.to_owned(),
    }
}

/// `path.Ext`: the last element from its last point on; `.profile` is all extension.
fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.');
    extension.map_or_else(String::new, |(_, extension)| format!(".{extension}"))
}

/// The parts of an URL as Go's `url.Parse` finds them.
struct Parts {
    scheme: String,
    userinfo: String,
    host: String,
    path: String,
    opaque: String,
    query: String,
    fragment: String,
}

/// The URL may hold a password, so it stands in the detail alone.
fn invalid(what: &str, url: &str) -> Fault {
    Fault::hiding(
        format!("unable to parse url: {what}"),
        format!("unable to parse url {url:?}: {what}"),
    )
}

/// The order is Go's: the fragment is cut off first, then the scheme, then the query, then the authority.
fn parse(url: &str) -> Outcome<Parts> {
    if url.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(invalid("invalid control character in URL", url));
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (scheme, rest) = match split_scheme(rest) {
        Ok(split) => split,
        Err(what) => return Err(invalid(what, url)),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parts = Parts {
        scheme: scheme.to_lowercase(),
        userinfo: String::new(),
        host: String::new(),
        path: String::new(),
        opaque: String::new(),
        query: query.to_owned(),
        fragment: unescape(fragment).ok_or_else(|| invalid("invalid URL escape", url))?,
    };
    if !rest.starts_with('/') && !scheme.is_empty() {
        rest.clone_into(&mut parts.opaque);
        return Ok(parts);
    }
    let mut path = rest;
    if let Some(authority) = rest.strip_prefix("//") {
        let end = authority.find('/').unwrap_or(authority.len());
        let (authority, after) = authority.split_at(end);
        let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if host.contains(' ') {
            return Err(invalid("invalid character in host name", url));
        }
        let port = host.rsplit_once(':').filter(|_| !host.ends_with(']'));
        if port.is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(invalid("invalid port after host", url));
        }
        userinfo.clone_into(&mut parts.userinfo);
        host.clone_into(&mut parts.host);
        path = after;
    } else if scheme.is_empty()
        && path
            .split('/')
            .next()
            .is_some_and(|first| first.contains(':'))
    {
        return Err(invalid(
            "first path segment in URL cannot contain colon",
            url,
        ));
    }
    parts.path = unescape(path).ok_or_else(|| invalid("invalid URL escape", url))?;
    Ok(parts)
}

/// The scheme and the text after its colon; no scheme if another character comes before the first colon.
fn split_scheme(url: &str) -> Result<(&str, &str), &'static str> {
    for (at, c) in url.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok(url.split_once(':').unwrap_or(("", url))),
            _ => break,
        }
    }
    Ok(("", url))
}

/// Resolves `%41`. The result is nothing for a `%` without two hexadecimal digits after it.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A map with the keys `scheme`, `host`, `hostname` (the host without its port), `path`, `query`, `opaque`,
/// `fragment` and `userinfo`. All values are texts, and missing parts are empty.
fn url_parse(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let parts = parse(&text(values, 0))?;
    let hostname = match parts.host.rsplit_once(':') {
        Some((name, _)) if !parts.host.ends_with(']') => name,
        _ => &parts.host,
    };
    let hostname = hostname.trim_start_matches('[').trim_end_matches(']');
    let fields = [
        ("scheme", parts.scheme.as_str()),
        ("host", &parts.host),
        ("hostname", hostname),
        ("path", &parts.path),
        ("query", &parts.query),
        ("opaque", &parts.opaque),
        ("fragment", &parts.fragment),
        ("userinfo", &parts.userinfo),
    ];
    Ok(Value::dict(fields.map(|(name, text)| {
        (Bytes::from(name.as_bytes()), Value::str(text))
    })))
}

/// The reverse of `urlParse`, without `hostname`. Keys may be missing; a value that is no text is an error.
fn url_join(_: &mut Machine<'_>, values: &[Value]) -> Outcome<Value> {
    let part = |name: &str| match values[0].entry(name.as_bytes()) {
        None => Ok(String::new()),
        Some(Value::Str(text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Some(other) => fault(format!(
            "unable to parse {name} key, must be of type string, but {} found",
            other.type_name()
        )),
    };
    let (scheme, host, path) = (part("scheme")?, part("host")?, part("path")?);
    let (query, opaque) = (part("query")?, part("opaque")?);
    let (fragment, userinfo) = (part("fragment")?, part("userinfo")?);
    let mut url = String::new();
    if !scheme.is_empty() {
        url.push_str(&scheme);
        url.push(':');
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || !userinfo.is_empty() {
            if !host.is_empty() || !path.is_empty() || !userinfo.is_empty() {
                url.push_str("//");
            }
            if !userinfo.is_empty() {
                url.push_str(&userinfo);
                url.push('@');
            }
            url.push_str(&host);
        }
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            url.push('/');
        }
        url.push_str(&escape_path(&path));
    } else {
        url.push_str(&opaque);
    }
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query);
    }
    if !fragment.is_empty() {
        url.push('#');
        url.push_str(&escape_path(&fragment));
    }
    Ok(Value::str(url))
}

/// Escapes what may not stand in a path: Go's `shouldEscape` in the mode of paths.
fn escape_path(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
