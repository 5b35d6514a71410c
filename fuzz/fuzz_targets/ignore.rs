//! Any ignore patterns leave any path out or in, or are refused, the same every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overlayd_core::git::ignore::{Ignore, MatchSteps};

fuzz_target!(|input: (String, &str)| {
    let (patterns, path) = input;
    let outcome = || {
        let files = [("app".to_owned(), patterns.clone())];
        let rules = Ignore::new(&files, None).map_err(|error| error.to_string())?;
        let steps = MatchSteps::new(10_000_000);
        let left_out = rules.leaves_out(path, &steps);
        left_out.map_err(|error| error.to_string())
    };
    assert_eq!(outcome(), outcome());
});
