//! The file, and the files that it includes, as one tree.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::is_litellm;
use super::yaml::{self, Node, Value, YamlError};

/// No configuration of a proxy is as long.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files in all: more were named by mistake, or name each other.
const FILES_MAX: usize = 50;

/// Why there is nothing to take over.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum SourceError {
    /// The file can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Larger than settings are.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes; is this the right file?", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// No text.
    #[error("{} is not UTF-8 text; is this the right file?", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
    },
    /// No YAML.
    #[error("{}:{}: not YAML that settings are written in: {}", path.display(), error.line, error.message)]
    NotYaml {
        /// Which file.
        path: PathBuf,
        error: YamlError,
    },
    /// Something else than settings of LiteLLM.
    #[error(
        "{} is no configuration of a LiteLLM proxy: it has none of model_list, litellm_settings, router_settings, general_settings",
        path.display()
    )]
    NotLitellm {
        /// Which file.
        path: PathBuf,
    },
    /// Files that name each other.
    #[error("{} includes more than {FILES_MAX} files, or files that include each other", path.display())]
    TooManyFiles {
        /// Which file.
        path: PathBuf,
    },
    /// An include that is no path.
    #[error("{}:{line}: an include has to be a path of a file", path.display())]
    NotAPath {
        /// Which file.
        path: PathBuf,
        line: usize,
    },
}

/// Reads a file and what it includes.
pub(super) fn read(path: &Path) -> Result<Node, SourceError> {
    let mut files = 0;
    let root = read_with_includes(path, path, &mut files)?;
    if is_litellm(&root) { Ok(root) } else { Err(SourceError::NotLitellm { path: path.to_owned() }) }
}

fn read_with_includes(first: &Path, path: &Path, files: &mut usize) -> Result<Node, SourceError> {
    *files += 1;
    if *files > FILES_MAX {
        return Err(SourceError::TooManyFiles { path: first.to_owned() });
    }
    let text = read_text(path)?;
    let mut root = yaml::read(&text).map_err(|error| SourceError::NotYaml { path: path.to_owned(), error })?;
    if root.entries().is_none() {
        return Err(SourceError::NotLitellm { path: path.to_owned() });
    }
    let includes: Vec<Node> = root.get("include").map(Node::items).unwrap_or_default().to_vec();
    for include in includes {
        let Some(name) = include.text() else {
            return Err(SourceError::NotAPath { path: path.to_owned(), line: include.line });
        };
        let included = path.parent().unwrap_or(Path::new("")).join(name);
        let included = read_with_includes(first, &included, files)?;
        add(&mut root, included);
    }
    Ok(root)
}

/// What an included file brings: its lists go behind those that are there, everything else takes the place of what is.
fn add(root: &mut Node, included: Node) {
    let Value::Table(entries) = included.value else { return };
    for (key, node) in entries {
        if key == "include" {
            continue;
        }
        let is_list = matches!(node.value, Value::List(_));
        match root.get_mut(&key).filter(|there| is_list && matches!(there.value, Value::List(_))) {
            Some(there) => there.extend(node),
            None => root.set(key, node),
        }
    }
}

fn read_text(path: &Path) -> Result<String, SourceError> {
    let unreadable = |source| SourceError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    let mut bytes = Vec::new();
    // One byte more than there may be shows that there are more.
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| SourceError::NotText { path: path.to_owned() })
}
