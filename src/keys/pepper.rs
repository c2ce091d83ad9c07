//! The server's own secret, mixed into the hash of every credential.
//!
//! It lies in a file of its own beside the settings, readable by the owner only. So a stolen copy or backup of the
//! settings holds nothing against which a credential could be tried, and whoever can only write the settings can't plant
//! a credential. The price is that a backup has to bring the file along for the keys in it to work; therefore the
//! settings hold a check value, and a missing or foreign pepper is refused with a sentence instead of being replaced,
//! which would kill every key in silence.

use std::fmt;
use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::credential::fill_random;

const PEPPER_BYTES: usize = 32;
/// What is hashed for the check value; no credential has a space.
const CHECK_TEXT: &str = "pepper check";

/// The keyed hash of a credential.
pub(super) type CredentialHash = [u8; 32];

/// Why the pepper can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The disk says no.
    #[error("the pepper file {path} can't be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// The file that the stored keys were made with is gone.
    #[error(
        "the pepper file {path} is missing, and without it no virtual key can be recognised: restore it from a backup, or, if it is lost for good, move the settings file and its marker away and make keys, users and budgets anew"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file isn't the one that the stored keys were made with.
    #[error(
        "the pepper file {path} doesn't belong to these settings: restore the two files together, from the same backup"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// The server's secret, ready to hash with.
pub(super) struct Pepper(Hmac<Sha256>);

impl fmt::Debug for Pepper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pepper(***)")
    }
}

impl Pepper {
    /// Reads the file; `check` is the value that the settings hold, and without one a new pepper may be made.
    pub(super) fn open(path: &Path, check: Option<CredentialHash>) -> Result<Self, PepperError> {
        let io = |source| PepperError::Io { path: path.to_owned(), source };
        let foreign = || PepperError::Foreign { path: path.to_owned() };
        let bytes = match File::open(path) {
            Ok(file) => {
                file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
                let mut bytes = Vec::with_capacity(PEPPER_BYTES + 1);
                file.take(PEPPER_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
                <[u8; PEPPER_BYTES]>::try_from(bytes).map_err(|_| foreign())?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if check.is_some() {
                    return Err(PepperError::Missing { path: path.to_owned() });
                }
                create(path).map_err(io)?
            }
            Err(error) => return Err(io(error)),
        };
        let pepper = Self::from_bytes(&bytes);
        match check {
            Some(check) if !bool::from(check.ct_eq(&pepper.check_value())) => Err(foreign()),
            _ => Ok(pepper),
        }
    }

    fn from_bytes(bytes: &[u8; PEPPER_BYTES]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// The value by which the settings know this pepper again.
    pub(super) fn check_value(&self) -> CredentialHash {
        self.hash(CHECK_TEXT)
    }

    /// HMAC-SHA256 of something else: `kind` keeps it apart from credentials.
    pub(super) fn mark(&self, kind: &str, secret: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(kind.as_bytes());
        mac.update(secret);
        mac.finalize().into_bytes().into()
    }

    /// HMAC-SHA256 of a credential, by which it is stored and looked up.
    pub(super) fn hash(&self, credential: &str) -> CredentialHash {
        // The clone carries the state after the key, which saves two of four compressions.
        let mut mac = self.0.clone();
        mac.update(credential.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Makes a pepper that is on disk whole, or not at all, under its final name.
fn create(path: &Path) -> std::io::Result<[u8; PEPPER_BYTES]> {
    let mut bytes = [0; PEPPER_BYTES];
    fill_random(&mut bytes);
    let unfinished = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("pepper")
    }

    #[test]
    fn a_pepper_is_made_once_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = Pepper::open(&path(&folder), None).unwrap();
        let again = Pepper::open(&path(&folder), Some(first.check_value())).unwrap();
        assert_eq!(first.hash("x"), again.hash("x"));
        assert_eq!(std::fs::metadata(path(&folder)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn peppers_differ_and_so_do_their_hashes() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = Pepper::open(&path(&one), None).unwrap();
        let two = Pepper::open(&path(&two), None).unwrap();
        assert_ne!(one.hash("x"), two.hash("x"));
        assert_ne!(one.hash("x"), one.hash("y"));
    }

    #[test]
    fn a_lost_pepper_is_refused_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let check = Pepper::open(&path(&folder), None).unwrap().check_value();
        std::fs::remove_file(path(&folder)).unwrap();
        let refused = Pepper::open(&path(&folder), Some(check)).unwrap_err();
        assert!(matches!(refused, PepperError::Missing { .. }));
        assert!(refused.to_string().contains("restore it from a backup"), "{refused}");
        assert!(!path(&folder).exists());
    }

    #[test]
    fn a_foreign_cut_or_empty_pepper_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = Pepper::open(&path(&folder), None).unwrap().check_value();
        for bytes in [&[7; 32][..], &[7; 31], &[7; 33], &[]] {
            std::fs::write(path(&folder), bytes).unwrap();
            assert!(matches!(Pepper::open(&path(&folder), Some(check)), Err(PepperError::Foreign { .. })), "{bytes:?}");
        }
        std::fs::write(path(&folder), []).unwrap();
        assert!(Pepper::open(&path(&folder), None).is_err(), "an empty one is refused even by empty settings");
    }

    #[test]
    fn hashes_follow_the_published_example_of_hmac_sha256() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let hash = Pepper::from_bytes(&key).hash("what do ya want for nothing?");
        assert_eq!(hash[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }
}
