//! Guests that are described in the user's own folder: `vmmkit run NAME`.

use std::env;
use std::path::{Path, PathBuf};

use vmmkit_control::is_name;

/// The folder: $XDG_CONFIG_HOME/vmmkit, or ~/.config/vmmkit (XDG Base Directory Specification). None where there is no
/// home.
fn folder() -> Option<PathBuf> {
    // A path that is not absolute is to be ignored.
    let of = |variable| {
        env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let configurations = of("XDG_CONFIG_HOME").or_else(|| Some(of("HOME")?.join(".config")));
    configurations.map(|path| path.join("vmmkit"))
}

/// The file that describes the guest `name`, whether it is there or not; none where this cannot be a name.
pub(crate) fn file_of(name: &str) -> Option<PathBuf> {
    // Not an option of a command line.
    let is_name = is_name(name) && name.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    let folder = folder().filter(|_| is_name)?;
    Some(folder.join(format!("{name}.toml")))
}

/// The name of the guest that the file at `path` describes; none of a file in another folder.
pub(crate) fn name_of(path: &Path) -> Option<&str> {
    let name = path.file_stem()?.to_str()?;
    (file_of(name)? == path).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_of_the_users_folder() {
        let path = file_of("web-1.x").unwrap();
        assert!(path.is_absolute() && path.ends_with("vmmkit/web-1.x.toml"));
        assert_eq!(name_of(&path), Some("web-1.x"));
        assert_eq!(name_of(Path::new("/srv/web.toml")), None);
        let long = "x".repeat(65);
        for other in ["", "../x", "a/b", ".x", "-x", "a b", "\u{e4}", &long] {
            assert_eq!(file_of(other), None, "{other}");
        }
    }
}
