//! The `evenkeel` program.

use std::process::ExitCode;

/// Measured to be a few per cent faster here than the system's allocator, and it gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    evenkeel::cli::main(std::env::args_os())
}
