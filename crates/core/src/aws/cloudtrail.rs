//! Pure: events of CloudTrail about secrets, as EventBridge puts them into a queue.
//!
//! The events: <https://docs.aws.amazon.com/secretsmanager/latest/userguide/cloudtrail_log_entries.html>; their form:
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html>.

use serde_json::Value;

/// A secret whose value has changed, or may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretChange {
    /// The name of the event: `PutSecretValue` and so on.
    pub event: String,
    /// The region of the secret.
    pub region: String,
    /// The account that received the event.
    pub account: Option<String>,
    /// A name or an ARN.
    pub secret: String,
    /// The id of the version that is current now, where the event tells it.
    pub version_id: Option<String>,
}

/// Why a message is no event. Its text is never repeated, because other senders may use the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The body is no JSON object.
    #[error("it is no JSON object")]
    Json,
    /// The object has no `source` or no `detail`.
    #[error("it is no event of EventBridge: it has no `source` and `detail`")]
    Shape,
    /// No field has the name or the ARN of a secret.
    #[error("it names no secret")]
    Secret,
    /// No field has a region.
    #[error("it names no region")]
    Region,
}

/// The events that change, delete or restore a value.
const CHANGES: [&str; 6] = [
    "PutSecretValue",
    "UpdateSecret",
    "UpdateSecretVersionStage",
    "RotationSucceeded",
    "DeleteSecret",
    "RestoreSecret",
];

/// Names and ARNs are shorter than this.
const LONGEST: usize = 2048;

/// Reads the body of a message. Nothing for an event that changes no value.
///
/// # Errors
///
/// Fails for a body that is no such event.
pub fn parse(body: &str) -> Result<Option<SecretChange>, EventError> {
    let event: Value = serde_json::from_str(body).map_err(|_| EventError::Json)?;
    if !event.is_object() {
        return Err(EventError::Json);
    }
    // A topic of SNS between the rule and the queue wraps the event:
    // https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    if event["Type"] == "Notification"
        && let Some(inner) = event["Message"].as_str()
    {
        let inner: Value = serde_json::from_str(inner).map_err(|_| EventError::Json)?;
        return change(&inner);
    }
    change(&event)
}

fn change(event: &Value) -> Result<Option<SecretChange>, EventError> {
    let detail = &event["detail"];
    let (Some(source), true) = (event["source"].as_str(), detail.is_object()) else {
        return Err(EventError::Shape);
    };
    let name = detail["eventName"].as_str().unwrap_or_default();
    let failed = detail["errorCode"].is_string();
    if source != "aws.secretsmanager" || !CHANGES.contains(&name) || failed {
        return Ok(None);
    }
    let text = |paths: &[&str]| {
        let mut found = paths
            .iter()
            .filter_map(|path| event.pointer(path)?.as_str());
        let found = found.find(|text| !text.is_empty() && text.len() <= LONGEST);
        found.map(str::to_owned)
    };
    let secret = text(&[
        "/detail/responseElements/arn",
        "/detail/responseElements/aRN",
        "/detail/responseElements/ARN",
        "/detail/additionalEventData/SecretId",
        "/detail/requestParameters/secretId",
    ]);
    let version = text(&[
        "/detail/responseElements/versionId",
        "/detail/requestParameters/moveToVersionId",
    ]);
    // The event may have moved another stage than the current one.
    let stage = detail["requestParameters"]["versionStage"].as_str();
    let is_current = stage.is_none_or(|stage| stage == "AWSCURRENT");
    Ok(Some(SecretChange {
        event: name.to_owned(),
        region: text(&["/detail/awsRegion", "/region"]).ok_or(EventError::Region)?,
        account: text(&["/detail/recipientAccountId", "/account"]),
        secret: secret.ok_or(EventError::Secret)?,
        version_id: version.filter(|_| is_current && name != "DeleteSecret"),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(event: &Value, expected: &str) {
        let text = match parse(&event.to_string()) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(change)) => format!(
                "{} of {} in {} {} -> {}",
                change.event,
                change.secret,
                change.region,
                change.account.unwrap_or_default(),
                change.version_id.unwrap_or_default()
            ),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected, "{event}");
    }

    fn event(name: &str, more: &Value) -> Value {
        let mut detail = json!({"eventName": name, "awsRegion": "eu-west-1", "eventSource": "secretsmanager.amazonaws.com"});
        for (key, value) in more.as_object().unwrap() {
            detail[key] = value.clone();
        }
        json!({"source": "aws.secretsmanager", "account": "1", "region": "eu-west-1", "detail-type": "AWS API Call via CloudTrail", "detail": detail})
    }

    #[test]
    fn events_of_cloudtrail() {
        let put = json!({"requestParameters": {"secretId": "app/db"}, "responseElements": {"arn": "arn:x", "versionId": "v2"}});
        check(
            &event("PutSecretValue", &put),
            "PutSecretValue of arn:x in eu-west-1 1 -> v2",
        );
        let by_name =
            json!({"requestParameters": {"secretId": "app/db"}, "responseElements": null});
        check(
            &event("UpdateSecret", &by_name),
            "UpdateSecret of app/db in eu-west-1 1 -> ",
        );
        let rotated = json!({"additionalEventData": {"SecretId": "arn:y"}});
        check(
            &event("RotationSucceeded", &rotated),
            "RotationSucceeded of arn:y in eu-west-1 1 -> ",
        );
        let moved = |stage: &str| json!({"requestParameters": {"secretId": "a", "versionStage": stage, "moveToVersionId": "v1"}});
        check(
            &event("UpdateSecretVersionStage", &moved("AWSCURRENT")),
            "UpdateSecretVersionStage of a in eu-west-1 1 -> v1",
        );
        check(
            &event("UpdateSecretVersionStage", &moved("blue")),
            "UpdateSecretVersionStage of a in eu-west-1 1 -> ",
        );
        check(&event("GetSecretValue", &put), "nothing");
        let mut refused = event("PutSecretValue", &put);
        refused["detail"]["errorCode"] = json!("AccessDenied");
        check(&refused, "nothing");
        let wrapped =
            json!({"Type": "Notification", "Message": event("DeleteSecret", &put).to_string()});
        check(&wrapped, "DeleteSecret of arn:x in eu-west-1 1 -> ");
    }

    #[test]
    fn the_text_of_another_message_is_never_repeated() {
        check(&json!("text"), "error: it is no JSON object");
        check(
            &json!({"a": 1}),
            "error: it is no event of EventBridge: it has no `source` and `detail`",
        );
        check(
            &event("PutSecretValue", &json!({})),
            "error: it names no secret",
        );
        assert_eq!(parse("{"), Err(EventError::Json));
        let long = json!({"requestParameters": {"secretId": "x".repeat(5000)}});
        check(&event("PutSecretValue", &long), "error: it names no secret");
    }
}
