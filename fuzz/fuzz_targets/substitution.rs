//! Any text with any variables is substituted or refused within its budget, the same every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overlayd_core::render::substitution::{
    MissingVariables, SubstitutionBudget, SubstitutionLimits, Variables, substitute,
};

fuzz_target!(|input: (&str, String, String)| {
    let (text, a, b) = input;
    let variables = Variables::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    let outcome = || {
        let mut budget = SubstitutionBudget::new(SubstitutionLimits::default());
        substitute(text, &variables, MissingVariables::Refused, &mut budget)
            .map_err(|error| error.to_string())
    };
    assert_eq!(outcome(), outcome());
});
