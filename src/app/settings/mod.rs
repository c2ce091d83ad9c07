//! Gathers what settings are made of, and has them checked: the one place that looks for files and variables.
//!
//! Everything is read anew at each call, so that a reload sees what changed; the environment of a process doesn't.

mod dotenv;
mod since;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::with_causes;
use crate::catalog::Catalog;
use crate::config::defaults::{FILE_BYTES_MAX, NAMED_FILE_BYTES_MAX};
use crate::config::{self, Config, DataDir, FileRead, NamedFile, Problem, Problems, Secrets, Sources};
use crate::provider::check_authorities;
use crate::runtime::read_text;

pub(crate) use since::Since;

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

/// What was read of the files, with what is to be told about them.
#[derive(Default)]
struct Gathered {
    file: Option<(PathBuf, String)>,
    file_mode: Option<u32>,
    dotenv: Vec<(String, String)>,
    files: Vec<FileRead>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Settings {
    /// Reads and checks everything.
    pub fn load(&self) -> Result<Config, Problems> {
        self.load_since(Since::default())
    }

    /// Reads and checks everything again.
    pub(super) fn load_since(&self, since: Since<'_>) -> Result<Config, Problems> {
        self.load_in(Path::new(""), std::env::vars_os(), since)
    }

    /// The files that are looked at, whether they are there or not.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        std::iter::once(self.file().to_owned()).chain(self.dotenv_paths(Path::new(""))).collect()
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
        self.dotenv_paths(Path::new("")).into_iter().filter(|file| file.is_file()).collect()
    }

    /// All settings from a given folder and given variables.
    pub(super) fn load_in(
        &self,
        folder: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        since: Since<'_>,
    ) -> Result<Config, Problems> {
        self.gather(folder, variables, (Secrets::Needed, since), config::load)
    }

    /// Gathers what settings are made of, for one use.
    fn gather<T>(
        &self,
        folder: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        (secrets, since): (Secrets, Since<'_>),
        used: impl FnOnce(&Sources<'_>) -> T,
    ) -> T {
        let mut gathered = Gathered::default();
        self.read_file(folder, since, &mut gathered);
        for path in self.dotenv_paths(folder) {
            dotenv::read(folder, &path, since, &mut gathered);
        }
        let Gathered { file, file_mode, dotenv, files, mut problems, warnings } = gathered;
        let environment = read_environment(variables, &mut problems);
        let named_zone = environment.iter().find(|(name, _)| name == "TZ").map(|(_, zone)| zone.as_str());
        let (system_zone, zone_trouble) = zone_of(TimeZone::try_system().ok(), named_zone);
        used(&Sources {
            file,
            file_mode,
            dotenv,
            files,
            environment,
            flags: self.flags.clone(),
            system_zone,
            zone_trouble,
            check_file: &|what, path| check_file(what, &folder.join(path)),
            read_secret_file: &|path| read_text(&folder.join(path), SECRET_BYTES_MAX).map(|(text, _)| text),
            secrets,
            problems,
            warnings,
        })
    }

    /// Where variables may stand: in the working directory, and beside a file of settings that lies elsewhere. Of a name that
    /// stands in both, the working directory's counts.
    fn dotenv_paths(&self, folder: &Path) -> Vec<PathBuf> {
        let here = PathBuf::from(DOTENV_NAME);
        let beside = self.file.as_deref().and_then(Path::parent).map(|parent| parent.join(DOTENV_NAME));
        let real = |path: &Path| folder.join(path).canonicalize().ok();
        let is_another = |beside: &PathBuf| real(beside).is_none() || real(beside) != real(&here);
        let beside = beside.filter(|beside| *beside != here && is_another(beside));
        std::iter::once(here).chain(beside).collect()
    }

    /// The file's path and text, and its mode.
    fn read_file(&self, folder: &Path, since: Since<'_>, gathered: &mut Gathered) {
        let shown = self.file();
        let path = folder.join(shown);
        match read_text(&path, FILE_BYTES_MAX) {
            Ok((text, mode)) => {
                let read = FileRead::new(shown.to_owned(), &text);
                gathered.problems.extend(since.emptied(&read));
                gathered.files.push(read);
                (gathered.file, gathered.file_mode) = (Some((shown.to_owned(), text)), Some(mode));
            }
            // Only a file that was asked for has to be there.
            Err(error) => gathered.problems.extend(since.unreadable(shown, &path, &error, self.file.is_some())),
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
            let (text, _) = read_text(path, NAMED_FILE_BYTES_MAX).map_err(|error| format!("can't be read: {error}"))?;
            Catalog::parse(&text).map(drop).map_err(|error| with_causes(&error.into()))
        }
        NamedFile::Authorities => check_authorities(path),
    }
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
