//! Rotations by their events, and what a desk asks of AWS.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use testbed::{Fault, Moto, wait_for};

use crate::aws::{KINDS, Land};
use crate::bed::condition;

/// A message as EventBridge puts it into the queue.
fn event(name: &str, secret: &str) -> Value {
    json!({
        "version": "0", "source": "aws.secretsmanager", "account": "123456789012", "region": "us-east-1",
        "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "secretsmanager.amazonaws.com", "eventName": name, "awsRegion": "us-east-1",
            "requestParameters": {"secretId": secret}, "responseElements": null,
        },
    })
}

#[test]
fn a_rotation_arrives_by_its_event_and_without_the_queue_by_looking() {
    let moto = Moto::start().unwrap();
    let send = |url: &str, body: &str| {
        let request = json!({"QueueUrl": url, "MessageBody": body});
        moto.call("sqs", "SendMessage", &request).unwrap();
    };
    let queue = moto
        .call("sqs", "CreateQueue", &json!({"QueueName": "rotations"}))
        .unwrap();
    let url = queue["QueueUrl"].as_str().unwrap().to_owned();
    let flags = [
        "--rotation-queue",
        &url,
        "--rotation-queue-region",
        "us-east-1",
    ];
    let land = Land::new(&flags, &[("AWS_ENDPOINT_URL_SQS", &moto.url())]);
    let aws = &land.own.aws;
    aws.put("app/db", "one");
    let hourly = json!({"refreshInterval": "1h"});
    land.read("db", "cluster/aws", "app/db", &hourly);
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:app/db-AbCdEf";
    land.read("by-arn", "cluster/aws", arn, &hourly);
    land.read("often", "cluster/aws", "app/db", &json!({}));
    land.holds("db", "one");
    land.holds("by-arn", "one");
    let reason = land.says(
        "clustersecretstores/aws",
        "RotationEvents",
        "True",
        "queue `rotations`",
    );
    assert_eq!(reason, "Listening");
    for (number, name) in ["PutSecretValue", "UpdateSecret", "RotationSucceeded"]
        .iter()
        .enumerate()
    {
        let value = format!("by-event-{number}");
        aws.put("app/db", &value);
        let secret = if number == 1 { arn } else { "app/db" };
        send(&url, &event(name, secret).to_string());
        land.holds("db", &value);
        land.holds("by-arn", &value);
    }
    // The old version is shown for a moment after the event.
    aws.set_lag(Duration::from_secs(1));
    aws.put("app/db", "late");
    send(&url, &event("PutSecretValue", "app/db").to_string());
    land.holds("db", "late");
    aws.set_lag(Duration::ZERO);
    // What nobody uses is of no interest, and what is no event comes back only so often.
    send(&url, &event("PutSecretValue", "of/others").to_string());
    send(&url, "canary-message");
    let empty = || {
        let names = json!([
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible"
        ]);
        let request = json!({"QueueUrl": url, "AttributeNames": names});
        let answer = moto.call("sqs", "GetQueueAttributes", &request)?;
        let attributes = answer["Attributes"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        ensure!(
            attributes.values().all(|count| count == "0"),
            "{attributes:?}"
        );
        Ok(())
    };
    wait_for("an empty queue", Duration::from_secs(90), empty).unwrap();
    assert_eq!(
        land.metric(&["overlayd_rotation_messages_total", "\"dropped\""]),
        1
    );
    assert!(land.metric(&["overlayd_rotation_messages_total", "\"handled\""]) >= 4);
    assert!(
        !land
            .daemon
            .as_ref()
            .unwrap()
            .log()
            .contains("canary-message")
    );

    drop(moto);
    let reason = land.says(
        "clustersecretstores/aws",
        "RotationEvents",
        "False",
        "cannot be read",
    );
    assert_eq!(reason, "QueueUnavailable");
    let path = format!("{KINDS}/clustersecretstores/aws");
    let store = land.own.cluster.get(&path).unwrap().unwrap();
    assert_eq!(condition(&store, "Ready")["status"], "True");
    aws.put("app/db", "by-looking");
    land.holds("often", "by-looking");
}

#[test]
fn a_store_can_have_a_queue_of_its_own_and_a_desk_can_ask() {
    let moto = Moto::start().unwrap();
    let queue = moto
        .call("sqs", "CreateQueue", &json!({"QueueName": "own"}))
        .unwrap();
    let url = queue["QueueUrl"].as_str().unwrap().to_owned();
    let land = Land::new(&[], &[("AWS_ENDPOINT_URL_SQS", &moto.url())]);
    let aws = &land.own.aws;
    aws.put("app/db", "one");
    aws.put("app/secret", "s");
    let spec = json!({"service": "SecretsManager", "region": "us-east-1"});
    let annotation = json!({"overlayd.dev/rotation-queue": url});
    land.try_store("clustersecretstores/own", &spec, annotation.clone())
        .unwrap();
    land.says(
        "clustersecretstores/own",
        "RotationEvents",
        "True",
        "queue `own`",
    );
    // Who may make stores in a namespace has no queue with the daemon's own identity.
    land.try_store("secretstores/tenant", &spec, annotation)
        .unwrap();
    let tenant = "namespaces/default/secretstores/tenant";
    land.says(tenant, "RotationEvents", "False", "needs `auth` of its own");
    land.read(
        "db",
        "cluster/own",
        "app/db",
        &json!({"refreshInterval": "1h"}),
    );
    land.holds("db", "one");
    aws.put("app/db", "two");
    let body = event("PutSecretValue", "app/db").to_string();
    moto.call(
        "sqs",
        "SendMessage",
        &json!({"QueueUrl": url, "MessageBody": body}),
    )
    .unwrap();
    land.holds("db", "two");
    land.read("secret", "cluster/own", "app/secret", &json!({}));
    land.holds("secret", "s");

    let desk = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_overlayd"))
            .args(arguments)
            .env("KUBECONFIG", land.own.plane.kubeconfig())
            .env("AWS_ENDPOINT_URL", aws.url())
            .env("AWS_ACCESS_KEY_ID", "AKIADESK")
            .env("AWS_SECRET_ACCESS_KEY", "s")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, text, _) = desk(&["iam", "--account", "123456789012"]);
    assert_eq!(code, Some(0));
    for line in [
        "secret:app/db-??????",
        "sqs:ReceiveMessage",
        "ExternalSecret default/secret",
    ] {
        assert!(text.contains(line), "{line} not in:\n{text}");
    }
    let (code, text, _) = desk(&["iam", "--check"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("MISSING"), "{text}");
    aws.deny("app/secret");
    aws.set_fault_of("ListSecrets", Some(Fault::AccessDenied));
    let (code, text, error) = desk(&["iam", "--check"]);
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "MISSING  secretsmanager:GetSecretValue        app/secret",
        "allowed  secretsmanager:GetSecretValue        app/db",
        "MISSING  secretsmanager:ListSecrets           *",
        "secret:app/secret-??????",
    ] {
        assert!(text.contains(line), "{line} not in:\n{text}");
    }
    assert!(
        !text.contains("two") && error.contains("1 permissions are missing"),
        "{text}{error}"
    );
    let (code, text, _) = desk(&["cost"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("ClusterSecretStore own") && text.contains("UNSHARED"),
        "{text}"
    );
    let started = Instant::now();
    wait_for("the cost as a metric", Duration::from_secs(90), || {
        ensure!(land.metric(&["overlayd_store_estimated_calls_per_day", "\"own\""]) > 80_000);
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#} after {:?}", started.elapsed()));
}
