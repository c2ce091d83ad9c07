//! Settings: what is taken, what is refused and how, and who outranks whom.

mod documented;
mod hostile;
mod precedence;
mod refusals;
mod upstreams;

use std::path::{Path, PathBuf};

use super::{Config, Problems, Sources, load};

/// A variable's name and value.
type Variable = (&'static str, &'static str);

fn pairs(variables: &[Variable]) -> Vec<(String, String)> {
    variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Sources of a file of mode 0600 and of an environment; one secret file exists.
fn sources(toml: &str, environment: &[Variable]) -> Sources<'static> {
    Sources {
        file: Some((PathBuf::from("tollgate.toml"), toml.to_owned())),
        file_mode: Some(0o600),
        environment: pairs(environment),
        read_secret_file: &|path| match path.to_str() {
            Some("/run/secrets/key") => Ok("sk-from-file\n".to_owned()),
            Some("/run/secrets/blank") => Ok(" \n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        },
        ..Sources::none()
    }
}

fn load_with(toml: &str, environment: &[Variable]) -> Result<Config, Problems> {
    load(&sources(toml, environment))
}

/// The settings of a file and an environment that have no problem.
fn accept_with(toml: &str, environment: &[Variable]) -> Config {
    load_with(toml, environment).unwrap_or_else(|problems| panic!("refused:\n{problems}\nof:\n{toml}"))
}

fn accept(toml: &str) -> Config {
    accept_with(toml, &[])
}

/// The problems of a file and an environment, one a line, without their places.
fn refuse_with(toml: &str, environment: &[Variable]) -> String {
    match load_with(toml, environment) {
        Ok(_) => panic!("taken, though it is wrong:\n{toml}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

/// The warnings of settings, one a line.
fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

fn path(text: &str) -> PathBuf {
    Path::new(text).to_owned()
}
