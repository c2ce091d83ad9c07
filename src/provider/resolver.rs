//! How names of providers become addresses: as the system is configured to, without its library, which blocks and isn't there in a
//! static binary.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::SystemTime;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Where the system says who is asked for addresses.
const SETTINGS: &str = "/etc/resolv.conf";

/// Looks names up.
#[derive(Clone, Default)]
pub(super) struct Names(Arc<MadeFrom<TokioResolver>>);

impl Names {
    fn resolver(&self) -> Result<Arc<TokioResolver>, BoxError> {
        // Made with the first look-up, because it has to be on a runtime.
        self.0.get(Path::new(SETTINGS), || {
            let mut builder = TokioResolver::builder_tokio()?;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
            Ok(builder.build()?)
        })
    }

    /// How many addresses a name has.
    pub(super) async fn addresses(&self, name: &str) -> Result<usize, BoxError> {
        Ok(self.resolver()?.lookup_ip(name).await?.iter().count())
    }
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        Box::pin(async move {
            let found =
                names.resolver()?.lookup_ip(name.as_str()).await.map_err(|error| NotFound::new(&name, &error))?;
            // The connector knows the port.
            Ok(found.iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

/// Why a name leads nowhere, in words for whoever called: what the resolver says of itself helps nobody there.
#[derive(Debug, thiserror::Error)]
enum NotFound {
    #[error("the name {0} has no address")]
    NoAddress(String),
    #[error("the name {0} can't be looked up: {1}")]
    NoAnswer(String, String),
}

impl NotFound {
    fn new(name: &Name, error: &NetError) -> Self {
        let name = name.to_string();
        if error.is_no_records_found() { Self::NoAddress(name) } else { Self::NoAnswer(name, error.to_string()) }
    }
}

/// Something that is made from a file, and made anew when the file has changed. What couldn't be made is tried again by the next who
/// asks, and until then what was made before goes on: a file may be read while it is written.
struct MadeFrom<T>(Mutex<Option<Made<T>>>);

struct Made<T> {
    /// When the file was written that it was made from; absent where there was none.
    written: Option<SystemTime>,
    it: Arc<T>,
}

impl<T> Default for MadeFrom<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> MadeFrom<T> {
    fn get(&self, file: &Path, make: impl FnOnce() -> Result<T, BoxError>) -> Result<Arc<T>, BoxError> {
        // A new connection is about to be made: asking the system costs nothing beside it.
        let written = std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        let mut made = self.0.lock().expect("no holder of this lock panics");
        if let Some(made) = made.as_ref().filter(|made| made.written == written) {
            return Ok(Arc::clone(&made.it));
        }
        match (make(), made.as_ref()) {
            (Ok(it), _) => {
                let it = Arc::new(it);
                *made = Some(Made { written, it: Arc::clone(&it) });
                Ok(it)
            }
            (Err(_), Some(before)) => Ok(Arc::clone(&before.it)),
            (Err(error), None) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A file, and what is made from it: its text, which has to be a number.
    struct Fixture {
        folder: tempfile::TempDir,
        made: MadeFrom<u32>,
        seconds: u64,
    }

    impl Fixture {
        fn write(&mut self, text: &str) {
            let file = std::fs::File::create(self.folder.path().join("file")).unwrap();
            std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
            self.seconds += 1;
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(self.seconds)).unwrap();
        }

        fn get(&self) -> Option<u32> {
            let path = self.folder.path().join("file");
            let make = || Ok(std::fs::read_to_string(&path)?.parse::<u32>()?);
            self.made.get(&path, make).ok().map(|it| *it)
        }
    }

    #[test]
    fn it_is_made_anew_when_the_file_changes_and_what_failed_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut fixture = Fixture { folder, made: MadeFrom::default(), seconds: 0 };
        assert_eq!(fixture.get(), None);
        fixture.write("no number");
        assert_eq!(fixture.get(), None);
        fixture.write("1");
        assert_eq!(fixture.get(), Some(1));
        let once = fixture.made.get(&fixture.folder.path().join("file"), || panic!("it is made already"));
        assert_eq!(*once.unwrap(), 1);
        fixture.write("2");
        assert_eq!(fixture.get(), Some(2));
        fixture.write("half of");
        assert_eq!(fixture.get(), Some(2), "the one before goes on");
        fixture.write("3");
        assert_eq!(fixture.get(), Some(3));
    }
}
