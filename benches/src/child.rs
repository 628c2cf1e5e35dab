//! Parts of the comparison that need a process of their own: this program, run again.
//!
//! A child says `ready` once its store is open, starts at a line on its input, and at the end
//! says what it did as one line of JSON.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::machine::peak_memory;
use crate::plan::{Scale, Track};
use crate::rival::Connections;
use crate::run::{Length, Sample, latencies, work};
use crate::sides::Side;

/// The argument of the program that makes it a child.
pub const ARGUMENT: &str = "--child";

/// What a child is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Which side.
    pub side: Side,
    /// Where its store is.
    pub folder: PathBuf,
    /// What was filled in.
    pub scale: Scale,
    /// The jobs of the child.
    pub tracks: Vec<Track>,
    /// The simulated time.
    pub now: i64,
    /// Checkpoints to make at most.
    pub count: u64,
    /// Time to take at most.
    pub most: Duration,
    /// How.
    pub pace: Pace,
}

/// How simulated time goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// It stands still, so that the order of several children does not matter.
    Still,
    /// It goes on, as it does for one caller. Time and memory are noted every so many checkpoints.
    Steady {
        /// Checkpoints between two notes.
        every: u64,
    },
}

/// What a child has done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// Its jobs afterwards.
    pub tracks: Vec<Track>,
    /// Checkpoints made.
    pub count: u64,
    /// The time they took.
    pub took: Duration,
    /// Nanoseconds of a call, and how many calls took them.
    pub latency: Vec<(u64, u64)>,
    /// What was noted on the way.
    pub marks: Vec<Mark>,
}

/// How a child stood at some point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Checkpoints made so far.
    pub count: u64,
    /// Time since the first.
    pub elapsed: Duration,
    /// The most memory it had so far, in bytes.
    pub memory: u64,
}

impl Done {
    /// As a run in this process would have given it.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let mut latency = latencies();
        for (value, count) in &self.latency {
            latency.saturating_record_n(*value, *count);
        }
        Sample { count: self.count, took: self.took, latency }
    }
}

/// Carries out an order, in the child.
///
/// # Errors
/// What the store or the pipes meet.
pub fn run(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order).context("the order of a child")?;
    let done = match order.pace {
        Pace::Still => still(order)?,
        Pace::Steady { every } => steady(order, every)?,
    };
    say(&serde_json::to_string(&done)?)
}

fn still(order: Order) -> Result<Done> {
    let Order { side, folder, scale, mut tracks, now, count, most, .. } = order;
    let rival = side.open(&folder, &scale, &tracks)?;
    let length = Length { count, most };
    let sample = work(&*rival, Connections::OneForAll, &mut tracks, now, length, ready)?;
    let latency =
        sample.latency.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value()));
    Ok(Done {
        latency: latency.collect(),
        tracks,
        count: sample.count,
        took: sample.took,
        marks: Vec::new(),
    })
}

fn steady(order: Order, every: u64) -> Result<Done> {
    let Order { side, folder, scale, mut tracks, mut now, count: most_count, most, .. } = order;
    let rival = side.open(&folder, &scale, &tracks)?;
    let mut caller = rival.caller(Connections::OneForAll)?;
    let (mut count, mut marks) = (0, Vec::new());
    ready()?;
    let began = Instant::now();
    while count < most_count && began.elapsed() < most {
        now += scale.interval();
        caller.alone(&tracks[scale.turn(count)].next(now))?;
        count += 1;
        if count.is_multiple_of(every) {
            marks.push(Mark { count, elapsed: began.elapsed(), memory: peak_memory() });
        }
    }
    let took = began.elapsed();
    drop(caller);
    Ok(Done { tracks, count, took, latency: Vec::new(), marks })
}

fn ready() -> Result<()> {
    say("ready")?;
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    ensure!(!line.is_empty(), "the comparison is gone");
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// A child, in the comparison.
pub struct Child {
    process: std::process::Child,
    out: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a child.
    ///
    /// # Errors
    /// What the system meets.
    pub fn start(order: &Order) -> Result<Child> {
        let program = std::env::current_exe()?;
        Child::spawn(Command::new(program).arg(ARGUMENT).arg(serde_json::to_string(order)?))
    }

    /// Starts a child under `strace`, which writes the calls by which it writes to a file.
    ///
    /// # Errors
    /// What the system meets; above all that there is no `strace`.
    pub fn start_traced(order: &Order, log: &Path) -> Result<Child> {
        let program = std::env::current_exe()?;
        let calls = "trace=write,pwrite64,writev,pwritev,fsync,fdatasync,sync_file_range";
        let mut strace = Command::new("strace");
        strace.args(["-f", "-s", "8", "-e", calls, "-o"]).arg(log).arg(program);
        Child::spawn(strace.arg(ARGUMENT).arg(serde_json::to_string(order)?))
    }

    fn spawn(command: &mut Command) -> Result<Child> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = process.stdout.take().context("a child has an output")?;
        Ok(Child { process, out: BufReader::new(out) })
    }

    /// Has the child do its work, and waits for it.
    ///
    /// # Errors
    /// That it failed.
    pub fn run(mut self) -> Result<Done> {
        self.wait_until_ready()?;
        self.go()?;
        self.finish()
    }

    /// Waits until the child has opened its store.
    ///
    /// # Errors
    /// That it ended instead.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line == "ready", "a child said {line:?}");
        Ok(())
    }

    /// Has the child begin.
    ///
    /// # Errors
    /// That it has ended.
    pub fn go(&mut self) -> Result<()> {
        let pipe = self.process.stdin.as_mut().context("a child has an input")?;
        pipe.write_all(b"go\n")?;
        Ok(pipe.flush()?)
    }

    /// Waits for what the child has done.
    ///
    /// # Errors
    /// That it failed.
    pub fn finish(mut self) -> Result<Done> {
        let line = self.line()?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("a child ended with {status}");
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Kills the child, which has no chance to put anything in order.
    ///
    /// # Errors
    /// What the system meets.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a child ended early");
        Ok(line.trim_end().to_string())
    }
}

/// Whatever goes wrong here, no child goes on.
impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
