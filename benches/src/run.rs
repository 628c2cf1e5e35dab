//! Carries out a plan on one side, from one or many threads, and times it.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;

use crate::books::Books;
use crate::plan::{Scale, Step, Track};
use crate::rival::{Connections, Rival};
use crate::sides::Side;

/// When a run ends: after so many checkpoints, or after so much time, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Checkpoints of all callers.
    pub count: u64,
    /// Time.
    pub most: Duration,
}

impl Length {
    /// So long that only a count can end it.
    pub const LONG: Length = Length { count: u64::MAX, most: Duration::from_secs(86_400) };
}

/// What a run took.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Checkpoints made.
    pub count: u64,
    /// From the first to the last.
    pub took: Duration,
    /// Nanoseconds of each call.
    pub latency: Histogram<u64>,
}

impl Sample {
    /// Checkpoints a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}

/// An empty histogram of nanoseconds, to three digits.
#[must_use]
pub fn latencies() -> Histogram<u64> {
    // Cannot fail: the bounds and the number of digits are within what the histogram takes.
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("these bounds are valid")
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One caller's share of the work: checkpoints of its jobs in turn, all at one moment of simulated
/// time, once it is `ready`.
///
/// # Errors
/// What the store meets, or `ready` says.
pub fn work(
    rival: &dyn Rival,
    connections: Connections,
    tracks: &mut [Track],
    now: i64,
    length: Length,
    ready: impl FnOnce() -> Result<()>,
) -> Result<Sample> {
    let caller = rival.caller(connections);
    ready()?;
    let mut caller = caller?;
    let (mut latency, mut count) = (latencies(), 0);
    let (began, jobs) = (Instant::now(), tracks.len());
    while count < length.count && began.elapsed() < length.most {
        let step = tracks[count as usize % jobs].next(now);
        let started = Instant::now();
        caller.alone(&step)?;
        latency.saturating_record(nanos(started.elapsed()));
        count += 1;
    }
    Ok(Sample { count, took: began.elapsed(), latency })
}

/// A side that is ready to be measured, with an account of what it has to hold.
pub struct Entry {
    /// Which side.
    pub side: Side,
    /// Its store.
    pub rival: Box<dyn Rival>,
    /// How its threads share it.
    pub connections: Connections,
    /// How far the work is.
    pub books: Books,
}

impl Entry {
    /// Fills a store in a folder, and opens it.
    ///
    /// # Errors
    /// What the store meets.
    pub fn new(side: Side, folder: &Path, scale: &Scale) -> Result<Entry> {
        std::fs::create_dir_all(folder)?;
        side.fill(folder, scale).with_context(|| format!("filling {side}"))?;
        let rival =
            side.open(folder, scale, &scale.tracks()).with_context(|| format!("opening {side}"))?;
        Ok(Entry::of(side, rival, scale))
    }

    /// A store that was filled and not used yet.
    #[must_use]
    pub fn of(side: Side, rival: Box<dyn Rival>, scale: &Scale) -> Entry {
        Entry { side, rival, connections: Connections::OneForAll, books: Books::new(scale) }
    }

    /// Checkpoints one at a time from one caller, while simulated time goes on.
    ///
    /// # Errors
    /// What the store meets.
    pub fn alone(&mut self, length: Length) -> Result<Sample> {
        let mut caller = self.rival.caller(self.connections)?;
        let mut latency = latencies();
        let mut count = 0;
        let began = Instant::now();
        while count < length.count && began.elapsed() < length.most {
            let step = self.books.next(count);
            let started = Instant::now();
            caller.alone(&step)?;
            latency.saturating_record(nanos(started.elapsed()));
            count += 1;
        }
        Ok(Sample { count, took: began.elapsed(), latency })
    }

    /// Checkpoints one at a time from many callers, all at one moment of simulated time, so that
    /// what must be stored does not depend on their order.
    ///
    /// # Errors
    /// What a store meets, or that a caller panicked.
    pub fn callers(&mut self, callers: usize, length: Length) -> Result<Sample> {
        let now = self.books.now();
        let each = length.count.div_ceil(callers as u64);
        let mut shares = self.books.shares(callers);
        let start = Barrier::new(callers + 1);
        let (rival, connections) = (&self.rival, self.connections);
        let length = Length { count: each, most: length.most };
        let (results, took) = std::thread::scope(|scope| {
            let start = &start;
            let running: Vec<_> = shares
                .iter_mut()
                .map(|share| {
                    let ready = || {
                        start.wait();
                        Ok(())
                    };
                    scope.spawn(move || work(&**rival, connections, share, now, length, ready))
                })
                .collect();
            start.wait();
            let began = Instant::now();
            let results: Vec<Result<Sample>> = running
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .map_err(|_| anyhow!("a caller panicked"))
                        .and_then(|result| result)
                })
                .collect();
            (results, began.elapsed())
        });
        let mut sample = Sample { count: 0, took, latency: latencies() };
        for result in results {
            let share = result?;
            sample.count += share.count;
            sample.latency.add(&share.latency)?;
        }
        shares.into_iter().flatten().for_each(|track| self.books.note(track));
        Ok(sample)
    }

    /// Asks, while one caller makes checkpoints one at a time as fast as it can.
    ///
    /// # Errors
    /// What a store meets, or that the caller panicked.
    pub fn while_writing<T>(&mut self, ask: impl FnOnce(&dyn Rival) -> Result<T>) -> Result<T> {
        let Entry { rival, connections, books, .. } = self;
        let rival: &dyn Rival = &**rival;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| -> Result<()> {
                let mut caller = rival.caller(*connections)?;
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    caller.alone(&books.next(count))?;
                    count += 1;
                }
                Ok(())
            });
            let answer = ask(rival);
            done.store(true, Ordering::Relaxed);
            writing.join().map_err(|_| anyhow!("the writer panicked"))??;
            answer
        })
    }

    /// Checkpoints that are stored `size` in a transaction, from one caller.
    ///
    /// # Errors
    /// What the store meets.
    pub fn together(&mut self, size: usize, length: Length) -> Result<Sample> {
        let mut caller = self.rival.caller(self.connections)?;
        let mut latency = latencies();
        let mut count = 0;
        let mut steps: Vec<Step> = Vec::with_capacity(size);
        let mut took = Duration::ZERO;
        while count < length.count && took < length.most {
            self.books.next_together(count, size as u64, &mut steps);
            let started = Instant::now();
            caller.together(&steps)?;
            let spent = started.elapsed();
            took += spent;
            latency.saturating_record(nanos(spent));
            count += size as u64;
        }
        Ok(Sample { count, took, latency })
    }

    /// Compares what is stored with what must be.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn check(&self) -> Result<()> {
        self.books.check(self.side, &*self.rival)
    }
}
