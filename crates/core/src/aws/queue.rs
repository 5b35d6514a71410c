//! Pure: a queue of rotation events, and the region in its address.

use super::identity::Identity;

/// A queue, and as whom it is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    pub url: String,
    pub identity: Identity,
    /// What it says is for everybody; otherwise for who reads it alone.
    pub is_for_all: bool,
}

/// The region in the address of a queue, as AWS writes it.
pub fn region_of(url: &str) -> Option<&str> {
    let host = url.split("://").nth(1)?.split('/').next()?;
    let mut labels = host.split('.');
    let (first, second) = (labels.next()?, labels.next()?);
    match (first, host.contains("amazonaws.com")) {
        ("sqs", true) => Some(second),
        (region, true) if second == "queue" => Some(region),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_stands_in_the_address() {
        for (url, expected) in [
            ("https://sqs.eu-west-1.amazonaws.com/1/q", Some("eu-west-1")),
            (
                "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
                Some("cn-north-1"),
            ),
            (
                "https://eu-west-1.queue.amazonaws.com/1/q",
                Some("eu-west-1"),
            ),
            ("http://127.0.0.1:5000/1/q", None),
            ("nonsense", None),
        ] {
            assert_eq!(region_of(url), expected, "{url}");
        }
    }
}
