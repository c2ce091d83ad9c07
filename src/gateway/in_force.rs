//! What a call goes by: the settings and the router that was made of them, which belong together.
//!
//! A call holds one of these from its beginning to its end; a reload of the settings puts another one into force for those that
//! come after. Nothing else of what a call goes by can change while it runs.

use std::sync::Arc;

use crate::config::Config;
use crate::routing::Router;

/// Settings, and where they lead calls.
#[derive(Clone)]
pub struct InForce {
    /// The settings.
    pub config: Arc<Config>,
    /// Where calls go.
    pub router: Arc<Router>,
}
