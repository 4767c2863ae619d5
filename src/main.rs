//! The `xinqiao` command.

/// What a finished call leaves in the SIP stack lives for 32 s among what lives for milliseconds; the system's allocator
/// then grows by 5 kB a call for as long as calls come.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    xinqiao::cli::run()
}
