//! Longhorn's command `ssync`.

fn main() -> std::process::ExitCode {
    lacuna_cli::ssync_main()
}
