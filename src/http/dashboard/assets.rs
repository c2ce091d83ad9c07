//! The files under `static/`, compiled into the binary.
//!
//! Each file is addressed with a hash of its content in the query, so a browser may keep it for ever and still sees a
//! new one at once. Paths are looked up in the embedded list, so nothing outside of it can be reached.

use std::borrow::Cow;
use std::fmt::Write as _;

use rust_embed::RustEmbed;

/// Where the files are served.
pub const PREFIX: &str = "/static/";

/// What to send when the query names the file's own version.
pub const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";

/// What to send when the query names no version or another one.
pub const CACHE_CHECKED: &str = "no-cache";

#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// One embedded file.
#[derive(Clone, Debug)]
pub struct Asset {
    /// The content.
    pub bytes: Cow<'static, [u8]>,
    /// The `Content-Type` to send.
    pub content_type: &'static str,
    /// The strong `ETag`, quotes included.
    pub etag: String,
    /// The version in the file's own address.
    pub version: String,
}

impl Asset {
    /// The `Cache-Control` for a request whose query had this `v`.
    pub fn cache_control(&self, asked: Option<&str>) -> &'static str {
        if asked == Some(self.version.as_str()) { CACHE_FOREVER } else { CACHE_CHECKED }
    }

    /// True where an `If-None-Match` header names this content.
    pub fn is_known_to(&self, if_none_match: &str) -> bool {
        if_none_match.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag)
    }
}

/// The file at a path below [`PREFIX`].
pub fn find(path: &str) -> Option<Asset> {
    let file = Files::get(path)?;
    let version = version_of(&file);
    Some(Asset { content_type: content_type(path), etag: format!("\"{version}\""), bytes: file.data, version })
}

/// The address of a file, with its version. An unknown file keeps its bare address and answers 404.
pub fn url(path: &str) -> String {
    match Files::get(path) {
        Some(file) => format!("{PREFIX}{path}?v={}", version_of(&file)),
        None => format!("{PREFIX}{path}"),
    }
}

/// The first 96 bits of the content's SHA-256: enough that two versions never meet.
fn version_of(file: &rust_embed::EmbeddedFile) -> String {
    file.metadata.sha256_hash().iter().take(12).fold(String::with_capacity(24), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string can't fail");
        text
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_its_own_version_is_kept_for_ever_and_others_are_checked() {
        let asset = find("tollgate.css").unwrap();
        assert_eq!(url("tollgate.css"), format!("/static/tollgate.css?v={}", asset.version));
        assert_eq!(asset.cache_control(Some(&asset.version)), CACHE_FOREVER);
        assert_eq!(asset.cache_control(Some("old")), CACHE_CHECKED);
        assert_eq!(asset.cache_control(None), CACHE_CHECKED);
    }

    #[test]
    fn a_browser_that_has_the_content_need_not_load_it_again() {
        let asset = find("tollgate.js").unwrap();
        assert!(asset.is_known_to(&asset.etag));
        assert!(asset.is_known_to(&format!("\"x\", W/{}", asset.etag)));
        assert!(asset.is_known_to("*"));
        assert!(!asset.is_known_to("\"x\""));
        assert!(!asset.is_known_to(""));
    }

    #[test]
    fn nothing_outside_of_the_list_is_found() {
        for path in ["", "/", "../Cargo.toml", "..", "tollgate.css/", "vendor", "/etc/passwd", "TOLLGATE.CSS"] {
            assert!(find(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn every_file_has_a_known_type() {
        let mut count = 0;
        for path in Files::iter() {
            assert_ne!(find(&path).unwrap().content_type, "application/octet-stream", "{path}");
            count += 1;
        }
        assert!(count >= 6, "{count}");
    }

    #[test]
    fn libraries_come_with_their_licences() {
        for path in ["vendor/htmx-LICENSE.txt", "vendor/htmx-ext-sse-LICENSE.txt"] {
            assert!(find(path).unwrap().bytes.len() > 300, "{path}");
        }
    }
}
