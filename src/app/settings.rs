//! Gathers what settings are made of, and has them checked: the one place that looks for files and variables.
//!
//! Everything is read anew at each call, so that a reload sees what changed; the environment of a process doesn't.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::with_causes;
use crate::catalog::Catalog;
use crate::config::defaults::FILE_BYTES_MAX;
use crate::config::{self, Config, DataDir, NamedFile, Problem, Problems, Secrets, Sources};
use crate::provider::check_authorities;

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

/// What may have happened to the file of settings since it was read before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Since {
    /// It was there: that it is gone is a problem.
    was_there: bool,
    /// Something stood in it, and nobody has said that it shall be read now: that it is empty may be the first step of writing it.
    was_filled: bool,
}

impl Since {
    /// Since these settings were read; `is_meant` where a person has said that the file shall be read now.
    pub(super) fn read(before: &Config, is_meant: bool) -> Self {
        let file = before.file.as_ref();
        Self { was_there: file.is_some(), was_filled: !is_meant && file.is_some_and(|file| !file.is_empty) }
    }
}

impl Settings {
    /// Reads and checks everything.
    pub fn load(&self) -> Result<Config, Problems> {
        self.load_since(Since::default())
    }

    /// Reads and checks everything again.
    pub(super) fn load_since(&self, since: Since) -> Result<Config, Problems> {
        self.load_in(Path::new(""), std::env::vars_os(), since)
    }

    /// The files that are looked at, whether they are there or not.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let file = self.file();
        let beside = file.parent().map(|folder| folder.join(DOTENV_NAME));
        [Some(file.to_owned()), Some(PathBuf::from(DOTENV_NAME)), beside].into_iter().flatten().collect()
    }

    /// The file that holds the settings, or would: for watching it.
    pub fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or_else(|| Path::new(FILE_NAME))
    }

    /// The same for a command that uses no secret of the settings: one that isn't there is no problem.
    pub fn load_sparing_secrets(&self) -> Result<Config, Problems> {
        self.gather(Path::new(""), std::env::vars_os(), (Secrets::Spared, Since::default()), config::load)
    }

    /// The data folder alone, whatever else is wrong with the settings.
    pub fn data_dir(&self) -> Option<DataDir> {
        self.gather(Path::new(""), std::env::vars_os(), (Secrets::Spared, Since::default()), config::data_dir)
    }

    /// The files of variables that are read, where they are there.
    pub fn dotenvs(&self) -> Vec<PathBuf> {
        let beside = self.file.as_deref().and_then(Path::parent).map(|parent| parent.join(DOTENV_NAME));
        let mut files = vec![PathBuf::from(DOTENV_NAME)];
        files.extend(beside.filter(|beside| beside.as_path() != Path::new(DOTENV_NAME)));
        files.retain(|file| file.is_file());
        files
    }

    /// All settings from a given folder and given variables.
    pub(super) fn load_in(
        &self,
        folder: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        since: Since,
    ) -> Result<Config, Problems> {
        self.gather(folder, variables, (Secrets::Needed, since), config::load)
    }

    /// Gathers what settings are made of, for one use.
    fn gather<T>(
        &self,
        folder: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        (secrets, since): (Secrets, Since),
        used: impl FnOnce(&Sources<'_>) -> T,
    ) -> T {
        let mut problems = Vec::new();
        let (file, file_mode) = self.read_file(folder, since, &mut problems);
        let dotenv = self.read_dotenvs(folder, &mut problems);
        let environment = read_environment(variables, &mut problems);
        let named_zone = environment.iter().find(|(name, _)| name == "TZ").map(|(_, zone)| zone.as_str());
        let (system_zone, zone_trouble) = zone_of(TimeZone::try_system().ok(), named_zone);
        used(&Sources {
            file,
            file_mode,
            dotenv,
            environment,
            flags: self.flags.clone(),
            system_zone,
            zone_trouble,
            check_file: &|what, path| check_file(what, &folder.join(path)),
            read_secret_file: &|path| read_bounded(&folder.join(path), SECRET_BYTES_MAX).map(|(text, _)| text),
            secrets,
            problems,
        })
    }

    /// The variables of `.env` in the working directory, and of the one beside a file of settings that lies elsewhere; of a
    /// name that stands in both, the working directory's counts.
    fn read_dotenvs(&self, folder: &Path, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
        let here = folder.join(DOTENV_NAME);
        let mut variables = read_dotenv(&here, DOTENV_NAME, problems);
        let beside = self.file.as_deref().and_then(Path::parent).map(|parent| parent.join(DOTENV_NAME));
        if let Some(beside) = beside {
            let path = folder.join(&beside);
            let is_same = path.canonicalize().is_ok_and(|path| here.canonicalize().is_ok_and(|here| here == path));
            if !is_same {
                variables.extend(read_dotenv(&path, &beside.display().to_string(), problems));
            }
        }
        variables
    }

    /// The file's path and text, and its mode.
    fn read_file(
        &self,
        folder: &Path,
        since: Since,
        problems: &mut Vec<Problem>,
    ) -> (Option<(PathBuf, String)>, Option<u32>) {
        let path = self.file();
        let told = |message| Problem::new(path.display().to_string(), message);
        match read_bounded(&folder.join(path), FILE_BYTES_MAX) {
            Ok((text, mode)) => {
                if since.was_filled && text.trim().is_empty() {
                    problems.push(told(
                        "empty, and it was not before: if that is meant, have it read by SIGHUP or POST /api/config/reload"
                            .to_owned(),
                    ));
                }
                (Some((path.to_owned(), text)), Some(mode))
            }
            Err(error) if is_absent(&folder.join(path), &error) && since.was_there => {
                let way_out = "it is gone: put it back, or an empty one in its place if there shall be no settings";
                problems.push(told(way_out.to_owned()));
                (None, None)
            }
            // Only a file that was asked for has to be there.
            Err(error) if is_absent(&folder.join(path), &error) && self.file.is_none() => (None, None),
            Err(error) => {
                problems.push(told(unreadable(&folder.join(path), &error)));
                (None, None)
            }
        }
    }
}

/// The zone of the machine; one without a zone that can be read keeps its budget days in UTC, and is told so where it
/// named another.
fn zone_of(found: Option<TimeZone>, named: Option<&str>) -> (TimeZone, Option<String>) {
    match (found, named) {
        (Some(zone), _) => (zone, None),
        (None, None) => (TimeZone::UTC, None),
        (None, Some(named)) => {
            let trouble = format!(
                "{named:?} is no time zone, so budget days are those of UTC; write one such as Europe/Berlin, or set time_zone in tollgate.toml"
            );
            (TimeZone::UTC, Some(trouble))
        }
    }
}

/// Whether a file that the settings name can be used.
fn check_file(what: NamedFile, path: &Path) -> Result<(), String> {
    match what {
        NamedFile::Prices => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
            Catalog::parse(&text).map(drop).map_err(|error| with_causes(&error.into()))
        }
        NamedFile::Authorities => check_authorities(path),
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

/// Whether nothing is there at all: a link that leads nowhere was meant to lead somewhere.
fn is_absent(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err()
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    match std::fs::read_link(path) {
        Ok(target) => format!("can't be read: {error}; it is a link to {}", target.display()),
        Err(_) => format!("can't be read: {error}"),
    }
}

/// The variables of `.env`. A line that is none is told of by its number alone, as it may hold a secret.
fn read_dotenv(path: &Path, shown: &str, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let text = match read_bounded(path, FILE_BYTES_MAX) {
        Ok((text, _)) => text,
        Err(error) => {
            if !is_absent(path, &error) {
                problems.push(Problem::new(shown, unreadable(path, &error)));
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
            shown,
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
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        settings.load_in(folder.path(), variables, Since::default())
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
    fn dotenv_is_read_beside_a_file_that_lies_elsewhere_and_the_working_directory_comes_first() {
        let folder = folder(&[(".env", "TOLLGATE_LISTEN=127.0.0.1:1\n")]);
        let elsewhere = folder.path().join("etc");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("gate.toml"), "").unwrap();
        fs::write(elsewhere.join(".env"), "TOLLGATE_LISTEN=127.0.0.1:2\nTOLLGATE_DATA_DIR=beside\nno variable\n")
            .unwrap();
        for file in ["etc/gate.toml".into(), elsewhere.join("gate.toml")] {
            let settings = Settings { file: Some(file), flags: Vec::new() };
            let problems = load(&settings, &folder, &[]).unwrap_err().to_string();
            assert!(problems.contains("etc/.env: a line is not of the form"), "{problems}");
        }
        fs::write(elsewhere.join(".env"), "TOLLGATE_LISTEN=127.0.0.1:2\nTOLLGATE_DATA_DIR=beside\n").unwrap();
        let settings = Settings { file: Some("etc/gate.toml".into()), flags: Vec::new() };
        let config = load(&settings, &folder, &[]).unwrap();
        assert_eq!((config.listen.port(), config.data_dir.as_path()), (1, Path::new("beside")));
        let config = load(&Settings::default(), &folder, &[]).unwrap();
        assert_eq!(config.data_dir, Path::new(config::defaults::DATA_DIR), "without --config nothing else is searched");
    }

    #[test]
    fn files_that_the_settings_name_are_checked_with_the_rest() {
        let folder = folder(&[
            (FILE_NAME, "color = 1\n[catalog]\nfile = \"prices.json\"\n[tls]\nca_file = \"ca.pem\"\n"),
            ("prices.json", "{"),
            ("ca.pem", "no certificate"),
        ]);
        let problems = load(&Settings::default(), &folder, &[]).unwrap_err().to_string();
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(lines.len(), 3, "{problems}");
        assert!(lines[1].starts_with("catalog.file: ") && lines[1].contains("price list"), "{problems}");
        assert!(lines[2].starts_with("tls.ca_file: ") && lines[2].contains("no certificate"), "{problems}");
        fs::remove_file(folder.path().join("prices.json")).unwrap();
        fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        let problems = load(&Settings::default(), &folder, &[]).unwrap_err().to_string();
        assert!(problems.contains("catalog.file: can't be read") && problems.contains("tls.ca_file: "), "{problems}");
    }

    #[test]
    fn a_zone_that_is_none_is_told_unless_the_settings_have_one() {
        assert_eq!(zone_of(None, None), (TimeZone::UTC, None));
        let (zone, trouble) = zone_of(None, Some("Nowhere/Land"));
        assert!(zone == TimeZone::UTC && trouble.as_ref().unwrap().contains("\"Nowhere/Land\" is no time zone"));
        let warned = |text: &str| {
            let file = Some((FILE_NAME.into(), text.to_owned()));
            config::load(&Sources { file, zone_trouble: trouble.clone(), ..Sources::none() }).unwrap().warnings.len()
        };
        assert_eq!((warned(""), warned("time_zone = \"Asia/Seoul\"")), (1, 0));
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
    fn a_file_that_was_there_must_stay_and_is_not_emptied_by_accident() {
        let folder = folder(&[(FILE_NAME, "data_dir = \"x\"")]);
        let settings = Settings::default();
        let again = |before: &Config, is_meant| {
            settings.load_in(folder.path(), Vec::new(), Since::read(before, is_meant)).map_err(|all| all.to_string())
        };
        let before = load(&settings, &folder, &[]).unwrap();
        assert_eq!(again(&before, false).as_ref(), Ok(&before));
        fs::write(folder.path().join(FILE_NAME), " \n").unwrap();
        assert!(again(&before, false).unwrap_err().starts_with("tollgate.toml: empty, and it was not before"));
        let emptied = again(&before, true).unwrap();
        assert!(emptied.file.as_ref().is_some_and(|file| file.is_empty) && again(&emptied, false).is_ok());
        fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        for is_meant in [false, true] {
            assert!(again(&emptied, is_meant).unwrap_err().starts_with("tollgate.toml: it is gone"));
        }
        let without = load(&settings, &folder, &[]).unwrap();
        assert!(without.file.is_none() && again(&without, false).is_ok());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_told_of() {
        for name in [FILE_NAME, ".env"] {
            let folder = folder(&[]);
            std::os::unix::fs::symlink("/nowhere/settings", folder.path().join(name)).unwrap();
            let problems = load(&Settings::default(), &folder, &[]).unwrap_err().to_string();
            assert!(problems.starts_with(&format!("{name}: can't be read: ")), "{problems}");
            assert!(problems.ends_with("it is a link to /nowhere/settings"), "{problems}");
        }
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
        let problems = Settings::default().load_in(folder.path(), variables, Since::default()).unwrap_err();
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
