//! What must hold of the files whatever happens to them.
