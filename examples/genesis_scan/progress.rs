//! Progress: a bar for each worker and one for all on a terminal, a line now and then elsewhere.

use std::io::{self, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::style::TemplateError;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use milepost::{Lease, Timestamp};

use crate::support::{figure, percent, rate};

/// How often a line is printed where bars cannot be drawn.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// What all workers of this run did so far.
pub struct Progress {
    bars: MultiProgress,
    overall: ProgressBar,
    style: ProgressStyle,
    started: Instant,
    /// How many positions earlier runs had done.
    done_before: u64,
    /// When the last line was printed.
    line_at: Mutex<Instant>,
}

impl Progress {
    /// Progress from `done_before` on towards `total`.
    pub fn new(done_before: u64, total: u64) -> Result<Progress, TemplateError> {
        let style = ProgressStyle::with_template("{prefix:>8} [{bar:32}] {percent:>3} %  {msg}")?
            .progress_chars("=> ");
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let overall = bars.add(ProgressBar::new(total));
        overall.set_style(style.clone());
        overall.set_prefix("overall");
        overall.set_position(done_before);
        let started = Instant::now();
        Ok(Progress { bars, overall, style, started, done_before, line_at: Mutex::new(started) })
    }

    /// A bar for one worker.
    pub fn of_worker(&self, name: &str) -> WorkerProgress<'_> {
        let bar = self.bars.insert_before(&self.overall, ProgressBar::new(1));
        bar.set_style(self.style.clone());
        bar.set_prefix(name.to_string());
        WorkerProgress { all: self, bar }
    }

    /// Prints a line without disturbing the bars.
    pub fn say(&self, line: &str) -> io::Result<()> {
        self.bars.suspend(|| writeln!(io::stdout(), "{line}"))
    }

    /// How many positions this run has done.
    pub fn done_now(&self) -> u64 {
        self.overall.position() - self.done_before
    }

    /// How long this run has taken.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Positions a second in this run.
    pub fn rate(&self) -> f64 {
        self.done_now() as f64 / self.elapsed().as_secs_f64()
    }

    fn advance(&self, positions: u64) -> io::Result<()> {
        self.overall.inc(positions);
        let (done, total) = (self.overall.position(), self.overall.length().unwrap_or_default());
        let left = Duration::try_from_secs_f64((total - done) as f64 / self.rate())
            .unwrap_or(Duration::MAX);
        let speed = format!("{}, {} left", rate(Some(self.rate())), HumanDuration(left));
        if self.bars.is_hidden() && self.is_line_due() {
            let share = percent(done as f64 / total as f64);
            self.say(&format!(
                "{} of {} positions, {share}, {speed}",
                figure(done),
                figure(total)
            ))?;
        }
        self.overall.set_message(speed);
        Ok(())
    }

    fn is_line_due(&self) -> bool {
        // Poisoned or held by another worker: that one prints, or nobody needs to.
        let Ok(mut line_at) = self.line_at.try_lock() else { return false };
        let is_due = line_at.elapsed() >= LINE_EVERY;
        if is_due {
            *line_at = Instant::now();
        }
        is_due
    }
}

/// What one worker does.
pub struct WorkerProgress<'a> {
    all: &'a Progress,
    bar: ProgressBar,
}

impl WorkerProgress<'_> {
    /// The worker took a job.
    pub fn takes(&self, lease: &Lease) {
        let range = lease.range();
        self.bar.set_length(range.end - range.start);
        self.bar.set_position(lease.resumed_at() - range.start);
        self.bar.set_message(format!("job {}", lease.job()));
    }

    /// Some positions of its job are done and stored.
    pub fn moved(&self, lease: &Lease, positions: u64, took: Duration) -> io::Result<()> {
        let speed = rate(Some(positions as f64 / took.as_secs_f64()));
        self.bar.set_position(lease.cursor() - lease.range().start);
        self.bar.set_message(format!("job {}, {speed}", lease.job()));
        self.all.advance(positions)
    }

    /// All jobs that are left are held, one of them until `until`.
    pub fn waits(&self, until: Timestamp) {
        self.bar.set_message(format!("waits: the jobs that are left are held, one until {until}"));
    }

    /// Prints a line without disturbing the bars.
    pub fn say(&self, line: &str) -> io::Result<()> {
        self.all.say(line)
    }
}

impl Drop for WorkerProgress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.overall.finish_and_clear();
    }
}
