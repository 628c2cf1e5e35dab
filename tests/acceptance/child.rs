//! Other processes: this test binary run again, in a part named by a variable.

#![expect(clippy::print_stdout, reason = "a child answers on its standard output")]
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use milepost::{Sharing, Store};

const PART: &str = "MILEPOST_TEST_PART";
const PATH: &str = "MILEPOST_TEST_PATH";
/// What stands before a child's answer, to tell it from what the test runner prints.
const MARK: &str = "answer: ";

/// Runs a part to its end, with these variables set, and gives its answer.
pub fn run(part: &str, path: &Path, variables: &[(&str, &str)]) -> String {
    let (mut child, mut output) = start(part, path, variables);
    let answer = answer(&mut output);
    output.read_to_string(&mut String::new()).unwrap();
    child.wait().unwrap();
    answer
}

/// Starts a part, and gives it back with its output.
pub fn start(
    part: &str,
    path: &Path,
    variables: &[(&str, &str)],
) -> (Child, BufReader<ChildStdout>) {
    spawn(command(part, path).envs(variables.iter().copied()))
}

/// Runs a part as a user without any rights; `None` where this process may not do that.
#[cfg(unix)]
pub fn run_as_nobody(part: &str, path: &Path) -> Option<String> {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;

    let mut command = command(part, path);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).uid(NOBODY).gid(NOBODY);
    let mut child = command.spawn().ok()?;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let answer = answer(&mut output);
    output.read_to_string(&mut String::new()).unwrap();
    child.wait().unwrap();
    Some(answer)
}

fn command(part: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child::a_part_of_another_test", "--exact", "--nocapture", "--test-threads=1"]);
    for variable in
        ["WORKER_HISTORY_LIMIT", "WORKER_DAILY_STATS_LIMIT", "WORKER_MONTHLY_STATS_LIMIT"]
    {
        command.env_remove(variable);
    }
    command.env(PART, part).env(PATH, path);
    command
}

fn spawn(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// The next answer of a child.
pub fn answer(output: &mut impl BufRead) -> String {
    for line in output.lines() {
        let line = line.unwrap();
        if let Some((_, answer)) = line.split_once(MARK) {
            return answer.to_string();
        }
    }
    "no answer".into()
}

fn say(answer: impl std::fmt::Display) {
    println!("{MARK}{answer}");
}

/// What a child does; nothing when the tests are run as such.
#[test]
fn a_part_of_another_test() {
    let Ok(part) = std::env::var(PART) else { return };
    let path = std::env::var_os(PATH).unwrap();
    let path = Path::new(&path);
    match part.as_str() {
        "open_with_env" => {
            say(match Store::builder(path).caps_from_env().open().and_then(|store| store.caps()) {
                Ok(caps) => format!(
                    "history {}, daily {}, monthly {}",
                    caps.history, caps.daily, caps.monthly
                ),
                Err(error) => error.to_string(),
            });
        }
        "open" => say(match Store::open(path) {
            Ok(_) => "opened".into(),
            Err(error) => format!("{error:?} {error}"),
        }),
        // Holds the file until it is killed.
        "hold" => {
            let store = Store::open(path).unwrap();
            say("held");
            std::thread::sleep(Duration::from_secs(600));
            drop(store);
        }
        "hold_shared" => {
            let store = Store::builder(path).sharing(Sharing::SingleWriter).open().unwrap();
            store.worker("writer", "pc").unwrap();
            say("held");
            std::thread::sleep(Duration::from_secs(600));
            drop(store);
        }
        "write_many" => {
            let store = Store::builder(path).sharing(Sharing::MultiWriter).open().unwrap();
            let worker = store.worker(&format!("pc-{}", std::process::id()), "pc").unwrap();
            let mut done = 0;
            while let Some(mut lease) =
                worker.lease(Duration::from_secs(60)).unwrap().wait().unwrap()
            {
                while let Some(range) = lease.next_batch(5) {
                    let batch = milepost::Batch::of(&range, Duration::from_millis(1));
                    lease.checkpoint(range.end, batch).unwrap();
                    done += range.end - range.start;
                }
                lease.complete().unwrap();
            }
            say(done);
        }
        other => panic!("there is no part {other}"),
    }
}
