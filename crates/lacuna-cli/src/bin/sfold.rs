//! Longhorn's command `sfold`.

fn main() -> std::process::ExitCode {
    lacuna_cli::sfold_main()
}
