//! Carries out the same steps on a store and on the model, and compares the two after each.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use milepost::{
    Builder, Caps, CapsChange, Counters, FindingOutcome, JobId, LeaseCommand, ManualClock,
    NewWorker, Receipt, Snapshot, Store, Timestamp, Token, Worker,
};

use crate::convert::{action, id, name, new_finding, new_job, plain_job, same, tag};
use crate::imports::Sent;
use crate::plain::{Done, NewJob, Plain, Tried};
use crate::state::{SOURCES, State, observe};
use crate::step::{Act, Held, Number, Step, Turn};

/// Noon of 2026-02-16.
const START: i64 = 1_771_243_200;

/// Where the store of a run is kept.
pub struct Place {
    /// Whether its transactions have room for everything that is due, so that nothing is put off.
    pub roomy: bool,
    open: Box<dyn Fn() -> Builder>,
}

impl Place {
    pub fn new(roomy: bool, open: impl Fn() -> Builder + 'static) -> Place {
        Place { roomy, open: Box::new(open) }
    }
}

/// How often each kind of command was accepted and refused, by both.
pub type Coverage = BTreeMap<&'static str, [u64; 2]>;

/// Runs all steps; says what differed, and at which of them.
pub fn run(place: Place, steps: &[Step]) -> Result<Coverage, String> {
    let mut run = Run::new(place);
    for (at, step) in steps.iter().enumerate() {
        run.step(step)
            .and_then(|()| run.compare())
            .map_err(|why| format!("at step {at}, {step:?}: {why}"))?;
    }
    Ok(run.coverage)
}

pub struct Run {
    pub place: Place,
    pub clock: ManualClock,
    pub store: Store,
    pub workers: Vec<Worker>,
    /// Every lease there has been.
    pub leases: Vec<Lease>,
    /// Every import there has been; of many at once the first.
    pub sent: Vec<Sent>,
    pub plain: Plain,
    pub held: Option<(Snapshot, State)>,
    pub coverage: Coverage,
}

#[derive(Debug, Clone)]
pub struct Lease {
    pub job: u64,
    pub token: u64,
    /// Sequence number of the last command that was answered with a receipt.
    pub sequence: u64,
    pub last: Option<(u64, Done)>,
}

/// The caps that a run begins with.
fn caps() -> Caps {
    Caps::default().with_history(5).with_daily(3).with_monthly(2)
}

impl Run {
    fn new(place: Place) -> Run {
        let clock = ManualClock::at(Timestamp::from_secs(START));
        let builder = (place.open)().clock(clock.clone());
        let caps = caps();
        let builder = builder.history_limit(caps.history);
        let store = builder.daily_limit(caps.daily).monthly_limit(caps.monthly).open().unwrap();
        let plain = Plain::new(Timestamp::from_secs(START), caps);
        Run {
            place,
            clock,
            store,
            workers: Vec::new(),
            leases: Vec::new(),
            sent: Vec::new(),
            plain,
            held: None,
            coverage: Coverage::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Register { worker, kind } => {
                let (name, kind) = (format!("worker-{worker}"), format!("kind-{kind}"));
                let found =
                    self.store.register_worker(NewWorker::new(&name).kind(&kind)).map_err(tag)?;
                same(found.id().get(), self.plain.register(&name, &kind))?;
                if !self.workers.iter().any(|known| known.id() == found.id()) {
                    self.workers.push(found);
                }
                Ok(())
            }
            Step::Create(jobs) => {
                let created = self.store.create_jobs(jobs.iter().map(new_job));
                let created = created.map(|ids| ids.into_iter().map(JobId::get).collect());
                let jobs: Vec<NewJob> = jobs.iter().map(plain_job).collect();
                let expected = self.plain.create(&jobs);
                self.agree("create", created.map_err(tag), expected)
            }
            Step::FindOrCreate(job) => {
                let found = self.store.find_or_create_job(new_job(job));
                let found = found.map(|found| (found.id().get(), found.is_created()));
                let expected = self.plain.find_or_create(&plain_job(job));
                self.agree("find or create", found.map_err(tag), expected)
            }
            Step::Lease { worker, secs, wanted, resume } => {
                self.lease(*worker, Duration::from_secs(*secs), wanted, *resume)
            }
            Step::Held(held) => self.many(std::slice::from_ref(held), false),
            Step::Many(many) => self.many(many, true),
            Step::Cancel(job) => {
                let job = self.job(*job);
                let (cancelled, expected) =
                    (self.store.cancel_job(id(job)), self.plain.cancel(job));
                self.agree("cancel", cancelled.map_err(tag), expected)
            }
            Step::Retry(job) => {
                let job = self.job(*job);
                let (retried, expected) = (self.store.retry_job(id(job)), self.plain.retry(job));
                self.agree("retry", retried.map_err(tag), expected)
            }
            Step::Delete(job) => {
                let job = self.job(*job);
                let (deleted, expected) = (self.store.delete_job(id(job)), self.plain.delete(job));
                self.agree("delete", deleted.map_err(tag), expected)
            }
            Step::ReleaseStale { secs } => {
                let older_than = Duration::from_secs(*secs);
                let released = self.store.release_stale(older_than).map_err(tag)?;
                same(released, self.plain.release_stale(older_than))
            }
            Step::Alone { worker, job, key, unique } => {
                let Some(worker) = self.worker(*worker) else { return Ok(()) };
                let (job, key) = (self.job(*job), vec![*key]);
                let finding = new_finding(key.clone(), b"alone".to_vec(), *unique);
                let stored = worker.add_finding(id(job), finding);
                let new = stored.map(|outcome| outcome == FindingOutcome::Stored);
                let worker = worker.id().get();
                let expected = self.plain.alone(worker, job, &key, *unique);
                self.agree("finding alone", new.map_err(tag), expected)
            }
            Step::NextRange { worker, prefix, positions, start, length } => {
                self.next_range(*worker, *prefix, *positions, *start..*start + *length)
            }
            Step::StartOver { job, by } => {
                let job = self.job(*job);
                let from = self.plain.jobs.get(&job).map_or(0, |row| row.job.start) + by;
                let begun = self.store.restart_job(id(job), Some(from));
                let expected = self.plain.start_over(job, from);
                self.agree("start over", begun.map_err(tag), expected)
            }
            Step::Report { worker, session, items, errors } => {
                let Some(worker) = self.worker(*worker) else { return Ok(()) };
                let counters = Counters::new(format!("run {session}"));
                let counters = counters.items((*items).into()).errors(*errors);
                let added = worker.report(&counters).map_err(tag);
                let expected = self.plain.report(worker.id().get(), *session, *items, *errors);
                self.agree("report", added, expected)
            }
            Step::Import { source, number, records } => {
                let source = SOURCES[usize::from(*source)];
                let last = self.plain.last_import(source);
                let number = match number {
                    Number::Above(by) => last.map_or(*by, |last| last + by),
                    Number::Below(by) => last.unwrap_or(0).saturating_sub(*by),
                };
                let sent = Sent::of(source, number, records, self.plain.now).map_err(tag)?;
                self.sent.push(sent.clone());
                self.import(sent)
            }
            Step::ImportAgain { back } => self.import_again(*back),
            Step::ManyImports => self.many_imports(),
            Step::Caps { history, daily, monthly } => {
                let mut change = CapsChange::default();
                (change.history, change.daily, change.monthly) = (*history, *daily, *monthly);
                self.store.set_caps(change).map_err(tag)?;
                if !self.place.roomy {
                    self.store.settle().map_err(tag)?;
                }
                let mut caps = self.plain.caps;
                caps.history = history.unwrap_or(caps.history);
                caps.daily = daily.unwrap_or(caps.daily);
                caps.monthly = monthly.unwrap_or(caps.monthly);
                self.plain.set_caps(caps);
                Ok(())
            }
            Step::Clock { secs } => {
                // Time passes forward, and the clock jumps back; now and then it jumps forward, too.
                let by = Duration::from_secs(secs.unsigned_abs());
                let now = self.plain.now;
                self.plain.now =
                    if *secs < 0 { now.saturating_sub(by) } else { now.saturating_add(by) };
                if *secs > 0 && secs % 5 != 0 {
                    self.clock.advance(by);
                    self.plain.since_jump = self.plain.since_jump.map(|since| since + by);
                } else {
                    self.clock.set(self.plain.now);
                    if by > Duration::from_secs(1) {
                        self.plain.since_jump = Some(Duration::ZERO);
                    }
                }
                // A jump is noticed by the next command; this one changes nothing.
                self.store.flush().map_err(tag)
            }
            Step::Reopen => {
                self.held = None;
                self.store.reopen().map_err(tag)
            }
            Step::Restart => self.restart(),
            Step::Hold => {
                let view = self.store.snapshot().map_err(tag)?;
                self.held = Some((view, self.plain.state()));
                Ok(())
            }
            Step::Look => match self.held.take() {
                Some((view, then)) => same(observe(&view).map_err(tag)?, then),
                None => Ok(()),
            },
        }
    }

    fn compare(&self) -> Result<(), String> {
        let view = self.store.snapshot().map_err(tag)?;
        same(observe(&view).map_err(tag)?, self.plain.state())?;
        if view.is_settling() {
            return Err("something is left to settle".into());
        }
        view.verify().map(|_| ()).map_err(|error| error.to_string())
    }

    fn restart(&mut self) -> Result<(), String> {
        self.held = None;
        self.store.close().map_err(tag)?;
        self.store = (self.place.open)().clock(self.clock.clone()).open().map_err(tag)?;
        self.workers.clear();
        // Nobody watched the clock meanwhile.
        self.plain.since_jump = None;
        for worker in &self.plain.workers {
            let kind = worker.kind.clone();
            let name = worker.name.clone();
            self.workers
                .push(self.store.register_worker(NewWorker::new(&name).kind(&kind)).map_err(tag)?);
        }
        for worker in self.plain.workers.clone() {
            self.plain.register(&worker.name, &worker.kind);
        }
        Ok(())
    }

    fn many(&mut self, many: &[Held], together: bool) -> Result<(), String> {
        // What each command is follows from what the one before it is expected to do.
        let before = self.plain.clone();
        let mut sent = Vec::new();
        let mut expected = Vec::new();
        if self.leases.is_empty() {
            return Ok(());
        }
        for held in many {
            let at = self.leases.len() - 1 - usize::from(held.back) % self.leases.len();
            let (sequence, done) = self.command(at, held);
            let lease = &mut self.leases[at];
            let answer = self.plain.held(lease.job, lease.token, sequence, &done);
            if answer.is_ok() {
                lease.sequence = sequence;
            }
            let (job, token) = (id(lease.job), Token::from(lease.token));
            sent.push(LeaseCommand::new(job, token, sequence, action(&done)));
            expected.push((name(&done), answer));
            lease.last = Some((sequence, done));
        }
        let answers: Vec<Result<Receipt, String>> = if together {
            self.store.submit_many(sent).into_iter().map(|answer| answer.map_err(tag)).collect()
        } else {
            sent.into_iter().map(|command| self.store.submit(command).map_err(tag)).collect()
        };
        if expected.iter().all(|(_, answer)| answer.is_err()) {
            // A rejected command changes nothing (promise 13).
            same(self.plain.state(), before.state())?;
        }
        for (command, answer) in &expected {
            self.note(command, answer.is_ok());
        }
        let expected: Vec<_> = expected.into_iter().map(|(_, answer)| answer).collect();
        same(answers, expected)
    }

    /// Compares two answers, and counts them.
    pub fn agree<T: PartialEq + Debug>(
        &mut self,
        command: &'static str,
        store: Result<T, String>,
        model: Result<T, String>,
    ) -> Result<(), String> {
        self.note(command, model.is_ok());
        same(store, model)
    }

    fn note(&mut self, command: &'static str, is_accepted: bool) {
        self.coverage.entry(command).or_default()[usize::from(!is_accepted)] += 1;
    }

    fn command(&self, at: usize, held: &Held) -> (u64, Done) {
        let lease = &self.leases[at];
        if let (Turn::Repeat, Some((sequence, done))) = (&held.turn, &lease.last) {
            return (*sequence, done.clone());
        }
        let off = if let Turn::Off(off) = held.turn { off } else { 0 };
        let sequence = (lease.sequence + 1).saturating_add_signed(off);
        let cursor = self.plain.jobs.get(&lease.job).map_or(0, |row| row.job.cursor);
        let done = match held.act {
            Act::Checkpoint { shift, positions, items, millis, error, finding, fails } => {
                let from = cursor.saturating_add_signed(shift);
                let left = self.plain.jobs.get(&lease.job).map_or(0, |row| row.job.end - cursor);
                // Most checkpoints stay within the job; some positions are out of any range.
                let positions = if positions < 1000 { positions.min(left) } else { positions };
                let payload = items.to_be_bytes().to_vec();
                let tried = Tried {
                    from,
                    to: from + positions,
                    items,
                    duration_us: millis * 1000,
                    error: error.then(|| format!("error {items}")),
                    finding: finding.map(|(key, unique)| (vec![key], payload, unique)),
                };
                match fails {
                    true => Done::Fail("tried in vain".into(), Some(tried)),
                    false => Done::Checkpoint(tried),
                }
            }
            Act::Renew => Done::Renew,
            Act::Heartbeat(n) => Done::Heartbeat(format!("note {n}")),
            Act::Fail => Done::Fail("no luck".into(), None),
            Act::Release => Done::Release,
        };
        (sequence, done)
    }

    /// Imports nothing, many times, and then the first of these and some earlier ones again.
    fn many_imports(&mut self) -> Result<(), String> {
        let source = SOURCES[3];
        let first = self.plain.last_import(source).map_or(0, |last| last + 1);
        self.sent.push(Sent::new(source, first));
        for number in first..first + 1_100 {
            self.import(Sent::new(source, number))?;
        }
        (0..4).try_for_each(|back| self.import_again(back))
    }

    fn import_again(&mut self, back: u16) -> Result<(), String> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let at = self.sent.len() - 1 - usize::from(back) % self.sent.len();
        self.import(self.sent[at].clone())
    }

    fn import(&mut self, sent: Sent) -> Result<(), String> {
        let Sent { source, number, import, imported } = sent;
        same(self.store.import(import).map_err(tag), self.plain.import(source, number, &imported))
    }

    /// The worker that a number stands for, once one is registered.
    pub fn worker(&self, number: u8) -> Option<Worker> {
        let count = self.workers.len();
        (count > 0).then(|| self.workers[usize::from(number) % count].clone())
    }

    /// The job that a number stands for: one there is or was, and now and then one there never was.
    pub fn job(&self, number: u8) -> u64 {
        1 + u64::from(number) % (self.plain.created + 1)
    }
}
