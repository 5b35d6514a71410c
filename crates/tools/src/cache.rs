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
