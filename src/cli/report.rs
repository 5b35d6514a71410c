//! Errors for people: what failed, why, where, and what to do next.

use std::fmt::Write as _;
use std::process::ExitCode;

use kustomize::BuildErrors;

use crate::cli::output;
use crate::cli::peer_flags::PeerFlag;

/// Why a command failed, for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The action that failed.
    what: String,
    /// The causes, outermost first.
    causes: Vec<Cause>,
}

/// One reason of a failure, and what helps.
#[derive(Debug)]
struct Cause {
    message: String,
    place: Option<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure without a reason yet. `what` says what was tried, such as ``cannot build `app` ``.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            causes: Vec::new(),
        }
    }

    /// Adds a cause, and a hint what to do next.
    pub(crate) fn because(mut self, message: impl Into<String>, hint: Option<&str>) -> Self {
        self.causes.push(Cause {
            message: message.into(),
            place: None,
            hint: hint.map(str::to_owned),
        });
        self
    }

    /// The errors of a build.
    pub(crate) fn build(directory: &str, errors: &BuildErrors) -> Self {
        let causes = errors.0.iter().map(|error| {
            let place = error.place.as_ref().map(ToString::to_string);
            let place = [place, error.field.clone()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", ");
            let place = Some(place).filter(|place| !place.is_empty());
            Cause {
                message: error.problem.to_string(),
                place,
                hint: error.hint.clone(),
            }
        });
        Self {
            what: format!("cannot build `{directory}`"),
            causes: causes.collect(),
        }
    }

    /// The lines that the person sees.
    fn render(&self) -> String {
        let mut text = format!("error: {}", self.what);
        for cause in &self.causes {
            let _ = write!(text, "\n  cause: {}", cause.message);
            if let Some(place) = &cause.place {
                let _ = write!(text, "\n  where: {place}");
            }
            if let Some(hint) = &cause.hint {
                let _ = write!(text, "\n  hint: {hint}");
            }
        }
        text
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Reports a failed command.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    output::note(&failure.render());
    ExitCode::from(1)
}

/// Reports a comparison that failed; 1 would mean that there are differences.
pub(crate) fn failure_of_diff(failure: &Failure) -> ExitCode {
    output::note(&failure.render());
    ExitCode::from(2)
}

/// Reports flags of Flux or External Secrets that overlayd does not have.
pub(crate) fn peer_flags(flags: &[PeerFlag]) -> ExitCode {
    let what = "these flags of Flux or External Secrets are not served by overlayd";
    let failure = flags.iter().fold(Failure::new(what), |failure, flag| {
        failure.because(format!("`{}`", flag.flag), Some(flag.instead))
    });
    output::note(&failure.render());
    ExitCode::from(2)
}

/// Reports invalid arguments, or prints the help.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    // clap chooses the stream and the colours.
    let printed = error.print();
    if printed.is_err() {
        ExitCode::from(2)
    } else {
        ExitCode::from(code)
    }
}
