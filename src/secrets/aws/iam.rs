//! Pure: what policies must allow.

use super::identity::partition;

/// The resources of a statement that allows an action wherever it is needed.
pub(crate) fn widest(action: &str, region: &str) -> String {
    match action {
        "ssm:GetParameters" => {
            let partition = partition(region);
            format!("arn:{partition}:ssm:{region}:*:parameter/*")
        }
        // These know no resources.
        _ => "*".to_owned(),
    }
}
