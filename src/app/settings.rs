//! Gathers what settings are made of, and has them checked: the one place that looks for files and variables.
//!
//! Everything is read anew at each call, so that a reload sees what changed; the environment of a process doesn't.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::config::defaults::FILE_BYTES_MAX;
use crate::config::{self, Config, Problem, Problems, Sources};

/// The file that is looked for in the working directory.
pub const FILE_NAME: &str = "tollgate.toml";
/// Where variables may stand, in the working directory; folders above it are not searched.
const DOTENV_NAME: &str = ".env";
/// No key or certificate is as long; a larger file was named by mistake.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file of `--config`; without it `tollgate.toml` in the working directory, where there is one.
    pub file: Option<PathBuf>,
    /// Keys that flags set, by path: `("listen", "127.0.0.1:0")`.
    pub flags: Vec<(&'static str, String)>,
}

impl Settings {
    /// Reads and checks everything.
    pub fn load(&self) -> Result<Config, Problems> {
        self.load_in(Path::new(""), std::env::vars_os())
    }

    /// The file that holds the settings, or would: for watching it.
    pub fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or_else(|| Path::new(FILE_NAME))
    }

    /// The same from a given folder and given variables.
    pub(super) fn load_in(
        &self,
        folder: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, Problems> {
        let mut problems = Vec::new();
        let (file, file_mode) = self.read_file(folder, &mut problems);
        let dotenv = read_dotenv(&folder.join(DOTENV_NAME), &mut problems);
        let environment = read_environment(variables, &mut problems);
        config::load(&Sources {
            file,
            file_mode,
            dotenv,
            environment,
            flags: self.flags.clone(),
            // A machine without a zone that can be read keeps its budget days in UTC.
            system_zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
            read_secret_file: &|path| read_bounded(&folder.join(path), SECRET_BYTES_MAX).map(|(text, _)| text),
            problems,
        })
    }

    /// The file's path and text, and its mode.
    fn read_file(&self, folder: &Path, problems: &mut Vec<Problem>) -> (Option<(PathBuf, String)>, Option<u32>) {
        let path = self.file();
        match read_bounded(&folder.join(path), FILE_BYTES_MAX) {
            Ok((text, mode)) => (Some((path.to_owned(), text)), Some(mode)),
            // Only a file that was asked for has to be there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.file.is_none() => (None, None),
            Err(error) => {
                problems.push(Problem::new(path.display().to_string(), format!("can't be read: {error}")));
                (None, None)
            }
        }
    }
}

/// Reads a file of at most so many bytes that must be text, and its mode.
fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<(String, u32)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut text = String::new();
    // One byte more than there may be shows that there are more.
    file.take(bytes_max as u64 + 1).read_to_string(&mut text)?;
    if text.len() > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes; is this the right file?")));
    }
    Ok((text, metadata.permissions().mode()))
}

/// The variables of `.env`. A line that is none is told of by its number alone, as it may hold a secret.
fn read_dotenv(path: &Path, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let text = match read_bounded(path, FILE_BYTES_MAX) {
        Ok((text, _)) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                problems.push(Problem::new(DOTENV_NAME, format!("can't be read: {error}")));
            }
            return Vec::new();
        }
    };
    let mut variables = Vec::new();
    let mut wrong = 0_usize;
    for variable in dotenvy::from_read_iter(text.as_bytes()) {
        match variable {
            Ok(variable) => variables.push(variable),
            Err(_) => wrong += 1,
        }
    }
    if wrong > 0 {
        let lines = if wrong == 1 { "a line is".to_owned() } else { format!("{wrong} lines are") };
        problems.push(Problem::new(
            DOTENV_NAME,
            format!("{lines} not of the form NAME=value; put values with spaces into quotes"),
        ));
    }
    variables
}

/// The variables that are text. One of this program's that isn't is told of; others are nobody's business here.
fn read_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => texts.push((name, value)),
            Err(_) if name.starts_with("TOLLGATE_") => {
                problems.push(Problem::new(name, "not UTF-8; write it as plain text"));
            }
            Err(_) => {}
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::ffi::OsStringExt as _;

    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn load(settings: &Settings, folder: &TempDir, variables: &[(&str, &str)]) -> Result<Config, Problems> {
        settings.load_in(folder.path(), variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn an_empty_folder_has_settings() {
        let config = load(&Settings::default(), &folder(&[]), &[]).unwrap();
        assert_eq!(config.listen, config::defaults::LISTEN);
    }

    #[test]
    fn the_file_dotenv_and_the_environment_are_found() {
        let folder = folder(&[
            (FILE_NAME, "data_dir = \"from-file\"\n[telemetry]\nmetrics_token = \"file:token\""),
            (
                ".env",
                "# keys\nexport OPENAI_API_KEY=\"sk-1\"\nTOLLGATE_LISTEN=127.0.0.1:4\nTOLLGATE_DATA_DIR=from-dotenv\n",
            ),
            ("token", "from-secret-file\n"),
        ]);
        let config = load(&Settings::default(), &folder, &[("TOLLGATE_LOG_BODIES", "full")]).unwrap();
        assert_eq!(config.data_dir, Path::new("from-file"));
        assert_eq!(config.listen.port(), 4);
        assert_eq!(config.providers[0].api_keys[0].expose(), "sk-1");
        assert_eq!(config.telemetry.metrics_token.unwrap().expose(), "from-secret-file");
        assert_eq!(config.log.bodies, config::Bodies::Full);
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        let settings = Settings { file: Some("other.toml".into()), flags: Vec::new() };
        let problems = load(&settings, &folder(&[(FILE_NAME, "color = 1")]), &[]).unwrap_err().to_string();
        assert!(problems.starts_with("other.toml: can't be read: "), "{problems}");
        let config = load(&settings, &folder(&[("other.toml", "data_dir = \"other\"")]), &[]).unwrap();
        assert_eq!(config.data_dir, Path::new("other"));
    }

    #[test]
    fn a_literal_secret_is_fine_in_a_file_of_mode_0600_only() {
        let folder = folder(&[(FILE_NAME, "[telemetry]\nmetrics_token = \"literal\"")]);
        let warnings = |mode| {
            fs::set_permissions(folder.path().join(FILE_NAME), Permissions::from_mode(mode)).unwrap();
            load(&Settings::default(), &folder, &[]).unwrap().warnings.len()
        };
        assert_eq!((warnings(0o644), warnings(0o600)), (1, 0));
    }

    #[test]
    fn what_is_unreadable_is_told_of_together_and_without_its_contents() {
        let folder = folder(&[(FILE_NAME, "color = 1"), (".env", "sk canary\nA=1\n")]);
        let variables = [("TOLLGATE_LISTEN".into(), OsString::from_vec(vec![0xff]))];
        let problems = Settings::default().load_in(folder.path(), variables).unwrap_err();
        assert_eq!(
            problems.to_string().lines().collect::<Vec<_>>(),
            [
                ".env: a line is not of the form NAME=value; put values with spaces into quotes",
                "TOLLGATE_LISTEN: not UTF-8; write it as plain text",
                "color: unknown key",
            ]
        );
    }

    #[test]
    fn a_file_that_is_too_large_or_no_text_is_refused() {
        let large = folder(&[(FILE_NAME, &"#".repeat(3 << 20))]);
        let problems = load(&Settings::default(), &large, &[]).unwrap_err().to_string();
        assert!(problems.contains("larger than"), "{problems}");
        let binary = folder(&[]);
        fs::write(binary.path().join(FILE_NAME), [0xff, 0xfe]).unwrap();
        let problems = load(&Settings::default(), &binary, &[]).unwrap_err().to_string();
        assert!(problems.starts_with("tollgate.toml: can't be read: "), "{problems}");
    }

    #[test]
    fn the_example_of_dotenv_sets_nothing_until_it_is_filled_in() {
        let example = include_str!("../../.env.example");
        let empty = load(&Settings::default(), &folder(&[(".env", example)]), &[]).unwrap();
        assert!(empty.providers.is_empty() && empty.warnings.is_empty());
        // Each line that is commented out is a setting that is really there.
        let filled: String = example
            .lines()
            .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
            .collect();
        let config = load(&Settings::default(), &folder(&[(".env", &filled)]), &[]).unwrap();
        assert_eq!(config.providers.len(), 2);
        assert!(config.admin_token.is_some());
    }
}
