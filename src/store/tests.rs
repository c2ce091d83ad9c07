//! What must hold of the files whatever happens to them.

pub(crate) mod disk;
mod files;
