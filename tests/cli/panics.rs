//! A panic of the program: its place is printed, and its text, which can hold a secret, is not.

use std::process::Command;

#[test]
fn the_place_of_a_panic_is_printed_and_not_its_text() {
    let output = Command::new(env!("CARGO_BIN_EXE_overlayd"))
        .arg("crds")
        .env("OVERLAYD_PANIC_AT", "start")
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(101), "{text}");
    assert_eq!(output.stdout, b"");
    assert!(text.starts_with("panic at src/failpoints.rs:"), "{text}");
    assert!(text.contains(" (thread main): "), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
