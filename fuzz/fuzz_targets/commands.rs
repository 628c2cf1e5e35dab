//! Any commands under any tokens: each gets an answer, and the store stays in order.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use milepost::testing::MemoryEngine;
use milepost::{
    Action, Batch, Builder, CapsChange, Counters, JobId, LeaseCommand, LeaseOutcome, ManualClock,
    NewJob, NewWorker, Timestamp, Token,
};

#[derive(Debug, Arbitrary)]
enum Step {
    Create { prefix: Vec<u8>, start: u64, end: u64, priority: i32, attempts: Option<u32> },
    Lease { worker: String, micros: u64, range: Option<(Vec<u8>, u64, u64, u64)> },
    Command { job: u8, token: u8, sequence: u8, what: What },
    Advance { seconds: u32 },
    Cancel { job: u8 },
    Retry { job: u8 },
    Delete { job: u8 },
    Restart { job: u8, from: Option<u64> },
    Report { worker: String, session: u8, items: u64, errors: u8 },
    Caps { history: Option<u32>, daily: Option<u32>, monthly: Option<u32> },
}

#[derive(Debug, Arbitrary)]
enum What {
    Checkpoint {
        from: u64,
        to: u64,
        items: u64,
        micros: u64,
        error: Option<String>,
        finding: Option<Vec<u8>>,
    },
    Renew,
    Heartbeat(String),
    Fail(String, Option<(u64, u64)>),
    Release,
}

fn action(what: What) -> Action {
    match what {
        What::Checkpoint { from, to, items, micros, error, finding } => {
            let took = Duration::from_micros(micros);
            let mut batch = Batch::new(from..to, took).with_items(items);
            if let Some(error) = error {
                batch = batch.with_error(error);
            }
            if let Some(key) = finding {
                batch = batch.with_finding(key, "found");
            }
            Action::Checkpoint(batch)
        }
        What::Renew => Action::Renew,
        What::Heartbeat(note) => Action::Heartbeat { note },
        What::Fail(reason, tried) => {
            let batch = tried.map(|(from, to)| Batch::new(from..to, Duration::ZERO));
            Action::Fail { reason, batch }
        }
        What::Release => Action::Release,
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let clock = ManualClock::at(Timestamp::from_secs(1_771_243_200));
    let engine = Arc::new(MemoryEngine::new().rerun());
    let store = Builder::on_engine(engine).clock(clock.clone()).open().expect("a store in memory");
    for step in steps {
        // Answers may be errors; what counts is that there is one, and that all is in order.
        let job = |number: u8| JobId::from(u64::from(number));
        match step {
            Step::Create { prefix, start, end, priority, attempts } => {
                let mut new = NewJob::new(prefix, start..end).priority(priority);
                if let Some(attempts) = attempts {
                    new = new.max_attempts(attempts);
                }
                let _ = store.create_job(new);
            }
            Step::Lease { worker, micros, range } => {
                let Ok(worker) = store.register_worker(NewWorker::new(&worker).kind("fuzz")) else {
                    continue;
                };
                let mut request = worker.request(Duration::from_micros(micros));
                if let Some((prefix, positions, start, end)) = range {
                    request = request.of_prefix(prefix).or_next_range(positions, start..end);
                }
                if let Ok(Some(lease)) = request.send().map(LeaseOutcome::leased) {
                    lease.abandon();
                }
            }
            Step::Command { job: number, token, sequence, what } => {
                let (token, sequence) = (Token::from(u64::from(token)), sequence.into());
                let command = LeaseCommand::new(job(number), token, sequence, action(what));
                let _ = store.submit(command);
            }
            Step::Advance { seconds } => clock.advance(Duration::from_secs(seconds.into())),
            Step::Cancel { job: number } => drop(store.cancel_job(job(number))),
            Step::Retry { job: number } => drop(store.retry_job(job(number))),
            Step::Delete { job: number } => drop(store.delete_job(job(number))),
            Step::Restart { job: number, from } => drop(store.restart_job(job(number), from)),
            Step::Report { worker, session, items, errors } => {
                let counters = Counters::new(session.to_string()).items(items.into());
                if let Ok(worker) = store.register_worker(worker) {
                    let _ = worker.report(&counters.errors(errors.into()));
                }
            }
            Step::Caps { history, daily, monthly } => {
                let mut change = CapsChange::default();
                (change.history, change.daily, change.monthly) = (history, daily, monthly);
                let _ = store.set_caps(change);
            }
        }
    }
    store.snapshot().and_then(|view| view.verify()).expect("the store is in order");
});
