//! Any template on any values is rendered or refused, the same every time.
#![no_main]

use gotemplate::{Environment, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (text, value) = input;
    let outcome = || {
        let parsed = Template::parse("t", text).map_err(|error| error.to_string())?;
        let data = [("a", value), ("b", b"42".as_slice())];
        let rendered = parsed.render(data, &Environment::fixed());
        rendered.map_err(|error| error.to_string())
    };
    assert_eq!(outcome(), outcome());
});
