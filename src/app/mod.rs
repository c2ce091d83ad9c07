//! Building every part from the settings, running them, stopping them in order; and the command line.
//!
//! The only layer that reads the environment, the file of settings and the signals of the process. [`folder`] makes
//! sure that a data folder has one owner, [`parts`] builds what is kept in it, [`serve`] runs the server over it, and
//! [`cli`] is what people type. Errors are told to a person here, so they may be any.

pub mod cli;
mod first_start;
mod folder;
mod local_token;
mod parts;
mod price_file;
mod serve;
pub mod settings;
