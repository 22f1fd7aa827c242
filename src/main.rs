//! The program: hands its arguments to the command line layer.

fn main() -> std::process::ExitCode {
    pipeline::main()
}
