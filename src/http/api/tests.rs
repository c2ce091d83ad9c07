//! The management API over HTTP, as callers see it.
