//! What a stuck or failed scenario leaves in its log: who runs, and where the daemon's threads are.

use std::process::{Command, Stdio};

/// Prints every process, and of each daemon what it says of itself and where its threads wait.
pub fn print() {
    println!(
        "--- processes\n{}",
        output("ps", &["-eLo", "pid,lwp,stat,time,args"])
    );
    for process in output("pidof", &["srptgt"]).split_whitespace() {
        println!("--- srptgt, process {process}\n{}", stacks(process));
    }
    println!("--- RDMA\n{}", output("rdma", &["resource", "show", "qp"]));
}

/// Where the threads of a process are, if the machine has gdb.
pub fn stacks(process: &str) -> String {
    let backtrace = "thread apply all backtrace 12";
    output(
        "gdb",
        &["--batch", "--nx", "--pid", process, "-ex", backtrace],
    )
}

/// What a program prints; a program that is missing says so here and fails nothing.
fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("({program}: {error})\n"),
    }
}
