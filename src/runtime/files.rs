//! Files that settings name: read whole, of a bounded size, and never waited for.

use std::fs::{FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Reads a file of at most so many bytes that must be text, and its mode.
///
/// What is no regular file is refused: a pipe without a writer would be waited for, perhaps for ever, and has nothing to give to
/// whoever reads it a second time.
pub fn read_text(path: &Path, bytes_max: usize) -> io::Result<(String, u32)> {
    // Opening must not wait either; for a regular file the flag means nothing.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let what = kind(metadata.file_type());
        return Err(io::Error::other(format!("it is {what}; put a regular file in its place")));
    }
    let mut text = String::new();
    // One byte more than there may be shows that there are more.
    file.take(bytes_max as u64 + 1).read_to_string(&mut text)?;
    if text.len() > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes; is this the right file?")));
    }
    Ok((text, metadata.permissions().mode()))
}

fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a folder"
    } else if file_type.is_fifo() {
        "a named pipe, which would be waited for"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) -> String {
        read_text(path, 10).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_text(&path, 10).unwrap().0, "0123456789");
        std::fs::write(&path, "0123456789a").unwrap();
        assert!(refused(&path).starts_with("larger than 10 bytes"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(refused(&path).contains("UTF-8"));
    }

    #[test]
    fn what_is_no_regular_file_is_neither_read_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(refused(&pipe), "it is a named pipe, which would be waited for; put a regular file in its place");
        assert!(refused(folder.path()).starts_with("it is a folder;"));
        assert!(refused(Path::new("/dev/zero")).starts_with("it is a device;"));
        assert_eq!(read_text(&folder.path().join("none"), 10).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
