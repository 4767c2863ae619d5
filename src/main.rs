//! The `xinqiao` command.

fn main() -> std::process::ExitCode {
    xinqiao::cli::run()
}
