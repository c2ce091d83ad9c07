//! Where a command works: on a running server over its API, or on the data folder when none runs; never on both.

use anyhow::{Context as _, anyhow, bail};

use super::super::folder::{DataFolder, FolderError, Holder};
use super::super::{local_token, parts};
use super::client::Client;
use super::{Shared, Usage};
use crate::config::Config;
use crate::domain::Secret;
use crate::keys::Keys;
use crate::ledger::Ledger;

/// What a command works on.
pub(super) enum Reach {
    /// A server that runs.
    Server(Client),
    /// The settings of a folder that nobody uses.
    Folder(Box<Folder>),
}

/// A data folder that is ours for the length of a command.
pub(super) struct Folder {
    /// What is changed.
    pub(super) keys: Keys,
    /// The settings that the next start will have.
    pub(super) config: Config,
    /// Held last: the files are closed before the folder is given back.
    claim: DataFolder,
}

impl Folder {
    /// The ledger of the folder, where there is one.
    pub(super) fn ledger(&self) -> anyhow::Result<Ledger> {
        let path = parts::ledger_path(self.claim.path());
        if !path.exists() && !path.with_extension("created").exists() {
            let folder = self.claim.path().display();
            bail!("there is no ledger in {folder}: name the data folder with --data-dir");
        }
        parts::open_ledger(&self.claim, &self.config)
    }
}

impl Reach {
    /// The server that was named, else the one that runs on the data folder, else the folder itself.
    pub(super) fn find(shared: &Shared) -> anyhow::Result<Self> {
        let given = shared.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let given = given.map(|token| Secret::new(token.to_owned()));
        if let Some(server) = shared.server.as_deref().map(str::trim).filter(|server| !server.is_empty()) {
            let token = given.ok_or_else(|| {
                Usage("a server that is named by --server or TOLLGATE_SERVER needs an admin token: give it with --token or TOLLGATE_ADMIN_TOKEN".to_owned())
            })?;
            if !server.starts_with("http://") && !server.starts_with("https://") {
                return Err(Usage(format!("--server {server}: write it as http://HOST:PORT or https://HOST")).into());
            }
            return Ok(Self::Server(Client::new(server, token, false)?));
        }
        Self::on_folder(shared.settings([]).load()?, given)
    }

    /// What works on a data folder: the server that runs there, or nobody but the command itself.
    fn on_folder(config: Config, given: Option<Secret<String>>) -> anyhow::Result<Self> {
        let claim = match DataFolder::claim(&config.data_dir) {
            Ok(claim) => claim,
            Err(FolderError::InUse { holder: Some(Holder { pid, address: Some(address) }), .. }) => {
                // The file is this very server's, whatever the variable was set for.
                let token = local_token::read(&config.data_dir).ok().or(given);
                let token =
                    token.ok_or_else(|| anyhow!("the local token in {} can't be read", config.data_dir.display()));
                let token = token.with_context(|| {
                    format!(
                        "the server of process {pid} runs on this data folder; run this as its user, or give --token"
                    )
                })?;
                return Ok(Self::Server(Client::new(&address, token, true)?));
            }
            Err(error) => return Err(error.into()),
        };
        let keys = parts::open_keys(&claim)?;
        Ok(Self::Folder(Box::new(Folder { keys, config, claim })))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What works on a folder, whatever variables and files surround the tests.
    pub(crate) fn on(folder: &std::path::Path) -> anyhow::Result<Reach> {
        let shared = Shared { data_dir: Some(folder.to_owned()), ..Shared::default() };
        Reach::on_folder(shared.settings([]).load_in(folder, [])?, None)
    }

    #[test]
    fn a_folder_that_nobody_uses_is_worked_on_itself() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(on(folder.path()).unwrap(), Reach::Folder(_)));
    }

    #[test]
    fn a_folder_with_a_server_is_worked_on_through_the_server() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut claim = DataFolder::claim(folder.path()).unwrap();
        claim.announce("http://127.0.0.1:1").unwrap();
        let refused = on(folder.path()).err().unwrap();
        assert!(format!("{refused:#}").contains("give --token"), "{refused:#}");
        let _file = local_token::LocalTokenFile::write(folder.path(), &Secret::new("tga-1".to_owned())).unwrap();
        assert!(matches!(on(folder.path()).unwrap(), Reach::Server(_)));
    }

    #[test]
    fn a_named_server_needs_a_token_and_an_address() {
        let named = |server: &str, token: Option<&str>| {
            let shared =
                Shared { server: Some(server.to_owned()), token: token.map(str::to_owned), ..Shared::default() };
            Reach::find(&shared).err().unwrap()
        };
        assert!(named("http://127.0.0.1:1", None).is::<Usage>());
        assert!(named("127.0.0.1:1", Some("tga-1")).is::<Usage>());
    }
}
