//! The token by which commands of the same user reach the running server: a file that only its owner can read.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::domain::Secret;

const FILE: &str = "local-token";

/// The file of a running server; it goes with the value.
#[derive(Debug)]
pub(crate) struct LocalTokenFile(PathBuf);

impl LocalTokenFile {
    /// Writes a token for this run, in place of one that a killed server left.
    pub(crate) fn write(folder: &Path, token: &Secret<String>) -> std::io::Result<Self> {
        let path = folder.join(FILE);
        // A new file each time: what was there may have been open to others.
        let unfinished = folder.join(format!("{FILE}.new"));
        let _ = std::fs::remove_file(&unfinished);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(token.expose().as_bytes())?;
        std::fs::rename(&unfinished, &path)?;
        Ok(Self(path))
    }
}

impl Drop for LocalTokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The token of the server that runs on a folder.
pub(crate) fn read(folder: &Path) -> std::io::Result<Secret<String>> {
    let text = std::fs::read_to_string(folder.join(FILE))?;
    Ok(Secret::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_file_is_for_its_owner_alone_and_goes_with_the_server() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "left by a killed server").unwrap();
        let file = LocalTokenFile::write(folder.path(), &Secret::new("tga-1".to_owned())).unwrap();
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read(folder.path()).unwrap().expose(), "tga-1");
        drop(file);
        assert!(read(folder.path()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
