//! Building every part from the settings, running them, stopping them in order; and the command line.
//!
//! The only layer that reads the environment, the file of settings and the signals of the process. [`folder`] makes
//! sure that a data folder has one owner, [`parts`] builds what is kept in it, [`serve`] runs the server over it, [`mod@reload`] reads the settings again,
//! [`litellm`] reads the settings of another gateway, [`spend`] what was spent there, and [`cli`] is what people type. Errors are told to a person here, so they may be any.

mod alert_watch;
mod attachments;
pub mod cli;
mod first_start;
mod folder;
mod litellm;
mod local_token;
mod parts;
mod price_file;
mod reconcile_daily;
mod reload;
mod report_schedule;
mod retention;
mod serve;
pub mod settings;
mod shared_news;
mod spend;
mod traces;

/// An error and its causes in one line, each said once: some errors repeat theirs.
fn with_causes(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_its_error_repeats_is_told_once() {
        let error =
            anyhow::anyhow!("the disk is full").context("nothing was written: the disk is full").context("verify");
        assert_eq!(with_causes(&error), "verify: nothing was written: the disk is full");
    }
}
