//! Tests that need a process of their own: the test program runs itself.
//!
//! The child runs one test, [`a_process_of_its_own`](crate::a_process_of_its_own), which finds in
//! two variables what it is to do. Without them it is a test like any other.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are the helpers of tests")]

use std::path::PathBuf;
use std::process::{Command, Output};

const TASK: &str = "MILEPOST_TEST_TASK";
const ARGUMENT: &str = "MILEPOST_TEST_ARGUMENT";

/// What a child prints before its answer.
const ANSWER: &str = "answer: ";

/// A process that does one of the tasks of this program.
pub fn child(task: &str, argument: &str) -> Command {
    // On Linux by a link that also leads another user here, whichever folders lie on the way.
    let program = match cfg!(target_os = "linux") {
        true => PathBuf::from("/proc/self/exe"),
        false => std::env::current_exe().unwrap(),
    };
    let mut command = Command::new(program);
    command.args(["--exact", "a_process_of_its_own", "--nocapture", "--test-threads=1"]);
    for variable in
        ["WORKER_HISTORY_LIMIT", "WORKER_DAILY_STATS_LIMIT", "WORKER_MONTHLY_STATS_LIMIT"]
    {
        command.env_remove(variable);
    }
    command.env(TASK, task).env(ARGUMENT, argument);
    command
}

/// The task of this process and its argument; `None` if it is no child.
pub fn task() -> Option<(String, String)> {
    let task = std::env::var(TASK).ok()?;
    Some((task, std::env::var(ARGUMENT).expect("a task has an argument")))
}

/// Tells the parent something.
pub fn answer(text: impl std::fmt::Display) {
    println!("{ANSWER}{text}");
}

/// The answer in a line of a child's output.
pub fn answer_in(line: &str) -> Option<&str> {
    line.split_once(ANSWER).map(|(_, answer)| answer.trim_end())
}

/// What a child answered, one line each. It must have ended well.
#[track_caller]
pub fn answers(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the child failed: {text}\n{errors}");
    text.lines().filter_map(answer_in).map(str::to_string).collect()
}
