//! Any message of a queue names a change of a secret, nothing, or is refused; always the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overlayd_core::aws::cloudtrail::parse;

fuzz_target!(|body: &str| {
    let outcome = || format!("{:?}", parse(body));
    assert_eq!(outcome(), outcome());
});
