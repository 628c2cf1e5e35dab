//! Tests that need a process of their own: the test program runs itself.
//!
//! What runs there is an ignored test, which does nothing unless a test that is not ignored told
//! it what to do by the variable [`ORDER`].

#![expect(clippy::unwrap_used, reason = "these are the helpers of tests")]

use std::process::{Command, Output};

/// The variable that tells a child what to do.
pub const ORDER: &str = "MILEPOST_TEST_ORDER";

/// What a child prints before its answer.
const ANSWER: &str = "answer: ";

/// A process that runs one ignored test of this program.
pub fn child(test: &str, order: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    for variable in
        ["WORKER_HISTORY_LIMIT", "WORKER_DAILY_STATS_LIMIT", "WORKER_MONTHLY_STATS_LIMIT"]
    {
        command.env_remove(variable);
    }
    command.env(ORDER, order);
    command
}

/// What this process was told to do; `None` if it is no child.
pub fn order() -> Option<String> {
    std::env::var(ORDER).ok()
}

/// A line that the parent reads.
pub fn answer(text: impl std::fmt::Display) -> String {
    format!("{ANSWER}{text}")
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
