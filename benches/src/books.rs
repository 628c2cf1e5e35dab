//! How far the work is, and what must be stored by now.

use anyhow::{Context, Result};

use crate::ledger::Ledger;
use crate::plan::{self, Scale, Step, Track};
use crate::rival::Rival;
use crate::sides::Side;

/// How far the work on one store is.
#[derive(Debug)]
pub struct Books {
    scale: Scale,
    tracks: Vec<Track>,
    ledger: Ledger,
    now: i64,
}

impl Books {
    /// Those of a store that was filled and not used yet.
    #[must_use]
    pub fn new(scale: &Scale) -> Books {
        Books {
            scale: *scale,
            tracks: scale.tracks(),
            ledger: Ledger::new(scale),
            now: plan::start().as_micros(),
        }
    }

    /// The next checkpoint of one caller who has made `count`, while simulated time goes on.
    pub fn next(&mut self, count: u64) -> Step {
        self.now += self.scale.interval();
        let step = self.tracks[self.scale.turn(count)].next(self.now);
        self.ledger.add(&step);
        step
    }

    /// Takes in checkpoints that one caller made elsewhere, while simulated time went on.
    pub fn skip(&mut self, count: u64) {
        for n in 0..count {
            let _made_elsewhere = self.next(n);
        }
    }

    /// The next checkpoints to be made together, by a caller who has made `count`.
    pub fn next_together(&mut self, count: u64, size: u64, steps: &mut Vec<Step>) {
        self.now += self.scale.interval() * size as i64;
        steps.clear();
        for n in count..count + size {
            let step = self.tracks[self.scale.jobs + self.scale.turn(n)].next(self.now);
            self.ledger.add(&step);
            steps.push(step);
        }
    }

    /// The jobs that one caller works on.
    #[must_use]
    pub fn turns(&self) -> Vec<Track> {
        self.tracks[..self.scale.workers.min(self.scale.jobs)].to_vec()
    }

    /// The jobs dealt out to several callers.
    #[must_use]
    pub fn shares(&self, callers: usize) -> Vec<Vec<Track>> {
        let jobs = self.scale.workers.max(callers).min(self.scale.jobs);
        let share = |caller| self.tracks[..jobs].iter().skip(caller).step_by(callers);
        (0..callers).map(|caller| share(caller).copied().collect()).collect()
    }

    /// Takes in what was done for a job elsewhere, all of it at the present time.
    pub fn note(&mut self, after: Track) {
        let before = std::mem::replace(&mut self.tracks[after.job], after);
        self.ledger.add_between(before, after, self.now);
    }

    /// The jobs and how far they are.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The simulated time, in microseconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Compares what a side has stored with what must be.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn check(&self, side: Side, rival: &dyn Rival) -> Result<()> {
        let shown = rival.tally().with_context(|| format!("looking at {side}"))?;
        let tiers = rival.has_tiers();
        self.ledger.check(&shown, tiers).with_context(|| format!("{side} is wrong"))
    }
}
