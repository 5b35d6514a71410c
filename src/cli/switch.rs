//! Pure: flags that are on or off, as Go's programs take them: `--flag`, `--flag=true`, `--flag=0`, and by environment.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Reads the words that Go's `strconv.ParseBool` reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switch;

impl TypedValueParser for Switch {
    type Value = bool;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<bool, clap::Error> {
        let text = value.to_string_lossy();
        parse(&text).ok_or_else(|| {
            let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
            let mut context = |kind, text: String| error.insert(kind, ContextValue::String(text));
            let name = argument.map(ToString::to_string).unwrap_or_default();
            context(ContextKind::InvalidArg, name);
            context(ContextKind::InvalidValue, text.into_owned());
            let valid = vec!["true".to_owned(), "false".to_owned()];
            error.insert(ContextKind::ValidValue, ContextValue::Strings(valid));
            error
        })
    }
}

fn parse(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Args, Command, RunArgs};

    fn run(flags: &[&str]) -> Result<RunArgs, clap::Error> {
        let words = ["overlayd", "run"].iter().chain(flags);
        Args::try_parse_from(words).map(|args| match args.command {
            Command::Run(args) => *args,
            _ => unreachable!("the command is `run`"),
        })
    }

    #[test]
    fn a_switch_is_written_as_go_takes_it() {
        let check = |flags: &[&str], expected: bool| {
            let args = run(flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
            assert_eq!(args.gitops.no_cross_namespace_refs, expected, "{flags:?}");
        };
        check(&[], false);
        check(&["--no-cross-namespace-refs"], true);
        check(&["--no-cross-namespace-refs=true"], true);
        check(&["--no-cross-namespace-refs=1"], true);
        check(&["--no-cross-namespace-refs=False"], false);
        check(&["--no-cross-namespace-refs", "--no-remote-bases"], true);
        let error = run(&["--no-cross-namespace-refs=yes"]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("yes") && text.contains("true, false"),
            "{text}"
        );
    }

    #[test]
    fn every_flag_that_is_on_or_off_takes_a_value_and_the_words_of_go_by_environment() {
        type Value = fn(&RunArgs) -> bool;
        let flags: [(&str, Value); 9] = [
            ("install-crds", |args| args.install_crds),
            ("allow-remote-bases", |args| args.allow_remote_bases),
            ("enable-flood-gate", |args| args.enable_flood_gate),
            ("enable-cluster-store-reconciler", |args| {
                args.enable_cluster_store_reconciler
            }),
            ("no-remote-bases", |args| args.gitops.no_remote_bases),
            ("strict-substitutions", |args| {
                args.gitops.strict_substitutions
            }),
            ("watch-all-namespaces", |args| {
                args.gitops.watch_all_namespaces
            }),
            ("enable-leader-election", |args| {
                args.gitops.enable_leader_election
            }),
            ("leader-election-release-on-cancel", |args| {
                args.gitops.leader_election_release_on_cancel
            }),
        ];
        for (flag, value) in flags {
            for (text, expected) in [
                ("", true),
                ("=true", true),
                ("=false", false),
                ("=0", false),
            ] {
                let words = format!("--{flag}{text}");
                let args = run(&[&words]).unwrap_or_else(|error| panic!("{words}: {error}"));
                assert_eq!(value(&args), expected, "{words}");
            }
        }
        assert_eq!(
            parse("1"),
            Some(true),
            "as `OVERLAYD_ENABLE_LEADER_ELECTION=1` gives it"
        );
        assert_eq!(parse(""), None);
    }
}
