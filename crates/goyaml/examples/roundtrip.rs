//! Reads the files that are named and prints their documents: the floor under every build, for `cargo xtask bench`.

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    for file in std::env::args().skip(1) {
        for document in goyaml::read(
            &std::fs::read_to_string(file)?,
            &goyaml::ReadOptions::default(),
        )? {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            goyaml::print_into(&document, &mut text)?;
        }
    }
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
