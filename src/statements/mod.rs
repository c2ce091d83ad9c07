//! What providers say they charged and counted: their own reports, day by day, fetched by admin key or read from a file.
//!
//! [`Reporter`] fetches the usage and cost reports of an [`Account`], page by page; [`File::read`] takes the CSV files
//! that their consoles export. Both come to a [`Reading`]: whole or not at all. [`Statements`] keeps readings durably, a
//! later one of a day in place of the earlier. Days are UTC days, as the providers bill them. What we booked ourselves,
//! and whether the two agree, is not known here.

mod account;
mod amount;
mod anthropic;
mod days;
mod error;
mod fetch;
mod file;
mod openai;
mod reading;
mod rows;
mod shelf;

pub use account::Account;
pub use days::{Days, DaysError};
pub use error::{FetchError, FileError};
pub use fetch::Reporter;
pub use file::File;
pub use reading::{Charges, Reading, Used, Uses};
pub use shelf::{Attempt, Source, Statement, Statements, Told};
