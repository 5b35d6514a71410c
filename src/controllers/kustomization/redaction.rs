//! Pure: takes values of Secrets out of texts that may quote them.

/// The texts to take out, the longest first.
#[derive(Clone, Default)]
pub(super) struct Redaction(Vec<String>);

impl Redaction {
    /// Takes out these values, and the forms in which they are quoted.
    pub(super) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        // Shorter values tell nothing, and would tear every text.
        const SHORTEST: usize = 3;
        // Values as they are put in, and as they are quoted.
        let forms = secrets.into_iter().flat_map(|value| {
            let joined = value.replace('\n', "");
            let quoted = serde_json::to_string(&joined).unwrap_or_default();
            // One quote at each end is JSON's; another one belongs to the value.
            let inner = quoted
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            let quoted = inner.unwrap_or_default().to_owned();
            [value, joined.trim().to_owned(), joined, quoted]
        });
        let mut secrets: Vec<String> = forms.filter(|value| value.len() >= SHORTEST).collect();
        // The longest first, because a value may be a part of another.
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        Self(secrets)
    }

    /// Replaces every value by `***`.
    pub(super) fn apply(&self, text: String) -> String {
        let hide = |text: String, value: &String| {
            if text.contains(value) {
                text.replace(value, "***")
            } else {
                text
            }
        };
        self.0.iter().fold(text, hide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out_in_every_form_and_short_ones_stay() {
        let secrets = [
            "s3cret",
            "s3cret-longer",
            "ab",
            "line one\n\"line\" two\n",
            "in \"quotes\"",
        ];
        let redaction = Redaction::new(secrets.map(str::to_owned));
        for (text, expected) in [
            ("a s3cret b", "a *** b"),
            ("s3cret-longer", "***"),
            ("ab", "ab"),
            ("line one\n\"line\" two\n.", "***."),
            ("joined: line one\"line\" two", "joined: ***"),
            ("quoted: line one\\\"line\\\" two", "quoted: ***"),
            (r#"quoted: in \"quotes\"."#, "quoted: ***."),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redaction.apply(text.to_owned()), expected, "{text}");
        }
        assert_eq!(Redaction::default().apply("s3cret".to_owned()), "s3cret");
    }
}
