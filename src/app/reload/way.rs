//! The way to a file: every place at which a change makes it another file.
//!
//! A link on the way may be turned elsewhere, be it the file itself or a folder above it: so Kubernetes changes what it mounts
//! (`tollgate.toml -> ..data/tollgate.toml`, `..data -> ..2026_11_26/`), and so do programs that deploy by a link `current`. A way
//! that ends early goes on when what is missing comes.

use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows before it takes them for a circle.
const LINKS_MAX: usize = 40;

/// The links that are passed on the way to a file, and where it ends: at the file, or at the first place where nothing is.
pub(super) fn way_to(file: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let mut reached = PathBuf::new();
    let mut ahead = steps_back(file);
    while let Some(step) = ahead.pop() {
        if step == Path::new("..") {
            reached.pop();
            continue;
        }
        // That of the root starts anew.
        reached.push(&step);
        match reached.read_link() {
            Ok(target) => {
                places.push(reached.clone());
                if places.len() > LINKS_MAX {
                    return places;
                }
                reached.pop();
                ahead.extend(steps_back(&target));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            // It is no link, or can't be looked at.
            Err(_) => {}
        }
    }
    places.push(reached);
    places
}

/// The steps of a path, the last one first.
fn steps_back(path: &Path) -> Vec<PathBuf> {
    let steps = path.components().rev().filter(|step| *step != Component::CurDir);
    steps.map(|step| PathBuf::from(step.as_os_str())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The way to a file of a folder, as paths in it.
    fn way(folder: &Path, file: &str) -> Vec<String> {
        let folder = folder.canonicalize().unwrap();
        let within = |place: &PathBuf| place.strip_prefix(&folder).unwrap().display().to_string();
        way_to(&folder.join(file)).iter().map(within).collect()
    }

    #[test]
    fn the_way_has_every_link_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("releases/1")).unwrap();
        fs::write(path("releases/1/file"), "").unwrap();
        assert_eq!(way(folder.path(), "releases/1/file"), ["releases/1/file"]);
        symlink("./releases/1", path("current")).unwrap();
        assert_eq!(way(folder.path(), "current/file"), ["current", "releases/1/file"]);
        symlink("../current/file", path("releases/file")).unwrap();
        assert_eq!(way(folder.path(), "releases/file"), ["releases/file", "current", "releases/1/file"]);
        symlink(path("releases"), path("absolute")).unwrap();
        assert_eq!(way(folder.path(), "absolute/../current/file"), ["absolute", "current", "releases/1/file"]);
    }

    #[test]
    fn a_way_ends_where_nothing_is_and_goes_in_no_circle() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        symlink("later/deeper", path("current")).unwrap();
        assert_eq!(way(folder.path(), "current/file"), ["current", "later"]);
        fs::create_dir(path("later")).unwrap();
        assert_eq!(way(folder.path(), "current/file"), ["current", "later/deeper"]);
        symlink("circle", path("circle")).unwrap();
        assert_eq!(way(folder.path(), "circle/file").len(), LINKS_MAX + 1);
    }
}
