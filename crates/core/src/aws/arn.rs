//! Pure: the ids of secrets: names, ARNs, and partial ARNs, which lack the hyphen and six random characters that Secrets
//! Manager puts at the end of an ARN: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen>.

/// The parts of a secret's ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretArn<'a> {
    /// The region of the secret.
    pub region: &'a str,
    /// The id of the account that owns it.
    pub account: &'a str,
    /// The name, with a hyphen and six random characters if the ARN is whole.
    pub resource: &'a str,
}

impl<'a> SecretArn<'a> {
    /// Reads `arn:aws:secretsmanager:region:account:secret:name-AbCdEf`. Nothing for another text.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(7, ':');
        let arn = parts.next() == Some("arn");
        let _partition = parts.next()?;
        let service = parts.next()?;
        let (region, account) = (parts.next()?, parts.next()?);
        let is_secret = parts.next()? == "secret";
        let resource = parts.next()?;
        (arn && service == "secretsmanager" && is_secret).then_some(Self {
            region,
            account,
            resource,
        })
    }
}

/// A name without the hyphen and six random characters of an ARN. Nothing for a name without them.
pub fn without_suffix(resource: &str) -> Option<&str> {
    let (name, suffix) = resource.rsplit_once('-')?;
    let is_suffix = suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_suffix && !name.is_empty()).then_some(name)
}

/// True if two ids mean the same secret, as far as the ids tell. A name is a secret of the caller's account and region.
pub fn is_same_secret(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let names = |whole: &str, part: &str| without_suffix(whole) == Some(part);
    match (SecretArn::parse(one), SecretArn::parse(other)) {
        (Some(one), Some(other)) => {
            (one.region, one.account) == (other.region, other.account)
                && (names(one.resource, other.resource) || names(other.resource, one.resource))
        }
        (Some(arn), None) => arn.resource == other || names(arn.resource, other),
        (None, Some(arn)) => arn.resource == one || names(arn.resource, one),
        (None, None) => false,
    }
}

/// The ids by which the secret of an event may be watched: its ARN, the partial ARN, and its name.
pub fn spellings(secret: &str) -> Vec<String> {
    let mut all = vec![secret.to_owned()];
    if let Some(arn) = SecretArn::parse(secret) {
        all.push(arn.resource.to_owned());
        if let (Some(name), Some(part)) = (without_suffix(arn.resource), without_suffix(secret)) {
            all.push(name.to_owned());
            all.push(part.to_owned());
        }
    }
    all
}

/// The answer that belongs to an id, of several answers with names and ARNs. An equal name or ARN wins over a partial ARN,
/// because the partial ARN of one secret may be the whole ARN of another.
pub fn answer_to<'v, V>(
    id: &str,
    values: &'v [V],
    name: impl Fn(&V) -> Option<&str>,
    arn: impl Fn(&V) -> Option<&str>,
) -> Option<&'v V> {
    let exact = |value: &&V| arn(value) == Some(id) || name(value) == Some(id);
    let partial = |value: &&V| arn(value).is_some_and(|arn| is_same_secret(arn, id));
    let found = values.iter().find(exact);
    found.or_else(|| values.iter().find(partial))
}

/// The stage of a version, `AWSCURRENT` if the version is empty. Nothing for a version by its id.
pub fn stage_of(version: &str) -> Option<&str> {
    match version {
        "" => Some("AWSCURRENT"),
        _ if version.starts_with("uuid/") => None,
        stage => Some(stage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:1:secret:app/db-AbCdEf";

    #[test]
    fn names_and_arns_meet() {
        for (one, other, expected) in [
            ("app/db", "app/db", true),
            (ARN, "app/db", true),
            (ARN, "app/db-AbCdEf", true),
            (
                ARN,
                "arn:aws:secretsmanager:eu-west-1:1:secret:app/db",
                true,
            ),
            (
                ARN,
                "arn:aws:secretsmanager:eu-west-1:2:secret:app/db",
                false,
            ),
            (
                ARN,
                "arn:aws:secretsmanager:us-east-1:1:secret:app/db-AbCdEf",
                false,
            ),
            (ARN, "app/d", false),
            (
                "arn:aws:secretsmanager:eu-west-1:1:secret:app/db",
                "app/db",
                true,
            ),
            ("arn:aws:ssm:eu-west-1:1:parameter/app/db", "app/db", false),
            ("app/db", "app/db-AbCdEf", false),
        ] {
            assert_eq!(is_same_secret(one, other), expected, "{one} {other}");
            assert_eq!(is_same_secret(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn an_event_has_every_id_by_which_its_secret_may_be_watched() {
        let part = "arn:aws:secretsmanager:eu-west-1:1:secret:app/db";
        assert_eq!(spellings(ARN), [ARN, "app/db-AbCdEf", "app/db", part]);
        assert_eq!(spellings("app/db"), ["app/db"]);
    }

    #[test]
    fn the_nearest_answer_wins() {
        // The whole ARN of `db` is the partial ARN of `db-secret`.
        let values = [
            (
                "db-secret",
                "arn:aws:secretsmanager:r:1:secret:db-secret-AAAAAA",
            ),
            ("db", "arn:aws:secretsmanager:r:1:secret:db-secret"),
        ];
        let answer = |id: &str| {
            answer_to(id, &values, |value| Some(value.0), |value| Some(value.1))
                .map(|value| value.0)
        };
        assert_eq!(answer("db"), Some("db"));
        assert_eq!(answer("db-secret"), Some("db-secret"));
        assert_eq!(
            answer("arn:aws:secretsmanager:r:1:secret:db-secret"),
            Some("db")
        );
        assert_eq!(
            answer("arn:aws:secretsmanager:r:1:secret:db-secret-AAAAAA"),
            Some("db-secret")
        );
        assert_eq!(answer("other"), None);
    }
}
