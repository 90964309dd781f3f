//! `patronictl`: the operator's tool.

fn main() -> std::process::ExitCode {
    patroni::ctl::main().into()
}
