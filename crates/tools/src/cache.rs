//! Where built tools are kept: outside every work tree, so that a fresh clone does not build them again.

use std::path::PathBuf;

/// `$OVERLAYD_CACHE`, else `$XDG_CACHE_HOME/overlayd`, else `~/.cache/overlayd`.
pub fn cache_dir() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("OVERLAYD_CACHE").unwrap_or_else(|| {
        let base = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
        base.unwrap_or_else(std::env::temp_dir).join("overlayd")
    })
}

/// A short name for the texts that a tool is made of: 16 hexadecimal digits, the FNV-1a hash of them.
///
/// A changed source gives a changed name, so an old binary is never taken for a new one. Nothing here is an attacker's
/// text, so a hash without cryptography is enough.
pub(crate) fn key_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = texts.into_iter().flat_map(str::bytes);
    let hash = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn keys_are_fnv_1a() {
        // The test vectors of the hash's authors.
        assert_eq!(key_of([]), "cbf29ce484222325");
        assert_eq!(key_of(["a"]), "af63dc4c8601ec8c");
        assert_eq!(key_of(["foo", "bar"]), "85944171f73967e8");
    }
}
