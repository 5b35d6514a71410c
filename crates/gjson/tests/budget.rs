//! Short paths that ask for much memory are refused before it is taken.
//!
//! One test runs the others again in a process whose address space is limited: without a budget, it would abort.

use std::process::Command;

/// The address space of the process that follows all of these paths, in KiB.
const ADDRESS_SPACE: &str = "400000";

/// A list with a value for every two bytes.
fn numbers(bytes: usize) -> Vec<u8> {
    format!("[{}1]", "1,".repeat(bytes / 2)).into_bytes()
}

#[track_caller]
fn refused(json: &[u8], path: &str) {
    assert_eq!(gjson::get(json, path), Err(gjson::TooMuch), "{path}");
}

#[test]
fn lists_that_are_taken_apart() {
    for modifier in [
        "@keys", "@values", "@reverse", "@flatten", "@join", "@group", "@ugly",
    ] {
        refused(&numbers(4 << 20), modifier);
    }
    refused(&numbers(64 << 10), &"@reverse|".repeat(40));
}

#[test]
fn texts_that_become_longer_at_each_step() {
    refused(&numbers(64 << 10), &"@tostr|".repeat(30));
    refused(&numbers(64 << 10), &"[@this,@this]|".repeat(30));
    refused(&numbers(64 << 10), &"{a:@this,b:@this}|".repeat(30));
    let indent = " ".repeat(2_000);
    refused(
        &numbers(64 << 10),
        &format!(r#"@pretty:{{"indent":"{indent}"}}"#),
    );
}

#[test]
fn elements_that_are_copied_for_queries() {
    let many = format!("[{}{{}}]", r#"{"a":[1,2,3]},"#.repeat(20_000));
    let path = "[#.@this,#.@this,#.@this]|0|".repeat(200);
    refused(many.as_bytes(), &path);
}

#[test]
fn the_largest_secrets_are_read() {
    let json = numbers(64 << 10);
    for path in [
        "@keys|#",
        "@reverse|0",
        "@pretty",
        "@this|@flatten|@values|0",
        "32000",
    ] {
        assert!(gjson::get(&json, path).is_ok(), "{path}");
    }
}

#[test]
fn refused_paths_fit_in_a_limited_address_space() {
    let program = std::env::current_exe().expect("a test is a program");
    let script = format!("ulimit -v {ADDRESS_SPACE} && exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .args(["--test-threads=1", "lists", "texts", "elements"])
        .output()
        .expect("sh runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("3 passed"), "{text}");
}
