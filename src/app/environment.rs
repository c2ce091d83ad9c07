//! The one place that looks at the world for settings: the file, the environment, `.env`, the zone of the machine.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::config::{self, Config, Problem, Problems, Sources};

/// The file that is read where none is named; it need not be there.
const CONFIG_FILE: &str = "tollgate.toml";
const DOTENV_FILE: &str = ".env";

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The file, where one is named.
    pub(crate) file: Option<PathBuf>,
    /// Keys that flags set.
    pub(crate) flags: Vec<(&'static str, String)>,
}

/// Reads and checks the settings, or tells every problem at once.
pub(crate) fn read_settings(settings: &Settings) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let (file, file_mode) = read_file(settings.file.as_deref(), &mut problems);
    let sources = Sources {
        file,
        file_mode,
        dotenv: read_dotenv(Path::new(DOTENV_FILE), &mut problems),
        environment: environment(&mut problems),
        flags: settings.flags.clone(),
        system_zone: TimeZone::system(),
        read_secret_file: &|path| std::fs::read_to_string(path),
        problems,
    };
    config::load(&sources)
}

fn read_file(named: Option<&Path>, problems: &mut Vec<Problem>) -> (Option<(PathBuf, String)>, Option<u32>) {
    let path = named.unwrap_or(Path::new(CONFIG_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mode = std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode());
            (Some((path.to_owned(), text)), mode)
        }
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => {
            let place = named.map_or_else(|| CONFIG_FILE.to_owned(), |_| "--config".to_owned());
            problems.push(Problem::new(place, format!("the file {} can't be read: {error}", path.display())));
            (None, None)
        }
    }
}

fn read_dotenv(path: &Path, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    // A folder of this name is what some tools make, and is no file of ours.
    if !path.is_file() {
        return Vec::new();
    }
    let mut unreadable = |error: &dotenvy::Error| {
        // The parser's message repeats the line, which may hold a secret.
        let message = match error {
            dotenvy::Error::LineParse(line, at) => {
                let name = line.split('=').next().unwrap_or_default().trim();
                let name: String = name.chars().take(40).collect();
                format!("the line of {name:?} can't be read from character {at} on; put the value in single quotes")
            }
            error => format!("the file can't be read: {error}"),
        };
        problems.push(Problem::new(path.display().to_string(), message));
    };
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) => {
            unreadable(&error);
            return Vec::new();
        }
    };
    let mut pairs = Vec::new();
    for line in lines {
        match line {
            Ok(pair) => pairs.push(pair),
            Err(error) => {
                unreadable(&error);
                break;
            }
        }
    }
    pairs
}

/// Variables that are no text are nobody's here, unless their name says that they are meant for us.
fn environment(problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => pairs.push((name, value)),
            Err(_) if name.starts_with("TOLLGATE_") => {
                problems.push(Problem::new(name, "the value is no text in UTF-8; set it anew"));
            }
            Err(_) => {}
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dotenv(text: &str) -> (Vec<(String, String)>, Vec<Problem>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, text).unwrap();
        let mut problems = Vec::new();
        let pairs = read_dotenv(&path, &mut problems);
        (pairs, problems)
    }

    #[test]
    fn a_dotenv_file_gives_its_pairs_in_order() {
        let (pairs, problems) = dotenv("# keys\nOPENAI_API_KEY=sk-1\nB='two words'\n");
        let expected = [("OPENAI_API_KEY", "sk-1"), ("B", "two words")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(problems, []);
    }

    #[test]
    fn a_broken_dotenv_line_is_told_without_its_secret() {
        let (_, problems) = dotenv("OPENAI_API_KEY=\"sk-very-secret\n");
        let told = problems[0].to_string();
        assert!(told.contains("OPENAI_API_KEY") && !told.contains("sk-very"), "{told}");
    }

    #[test]
    fn a_named_file_that_is_not_there_is_a_problem_and_the_default_one_is_not() {
        let mut problems = Vec::new();
        assert_eq!(read_file(Some(Path::new("/nowhere/tollgate.toml")), &mut problems).0, None);
        assert!(problems[0].to_string().starts_with("--config: the file /nowhere/tollgate.toml can't be read"));
        problems.clear();
        assert_eq!(read_dotenv(Path::new("/nowhere/.env"), &mut problems), []);
        assert_eq!(problems, []);
    }
}
