//! Any path on any text leads somewhere, nowhere, or is too much; always the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (path, json) = input;
    assert_eq!(gjson::get(json, path), gjson::get(json, path));
});
