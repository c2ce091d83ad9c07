//! The executable: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

// A call allocates some two hundred times.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    tollgate::app::cli::main()
}
