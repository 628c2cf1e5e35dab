//! Any commands under any tokens: each gets an answer, and the store stays in order.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use milepost::testing::MemoryEngine;
use milepost::{NewWorker, 
    Action, Batch, Builder, JobId, LeaseCommand, ManualClock, NewJob, Timestamp, Token,
};

#[derive(Debug, Arbitrary)]
enum Step {
    Create { prefix: Vec<u8>, start: u64, end: u64, priority: i32, attempts: Option<u32> },
    Lease { worker: String, micros: u64 },
    Command { job: u8, token: u8, sequence: u8, what: What },
    Advance { seconds: u32 },
    Cancel { job: u8 },
    Retry { job: u8 },
    Delete { job: u8 },
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
    Fail(String),
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
        What::Fail(reason) => Action::Fail { reason, batch: None },
        What::Release => Action::Release,
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let clock = ManualClock::at(Timestamp::from_secs(1_771_243_200));
    let engine = Arc::new(MemoryEngine::new().rerun());
    let store = Builder::on_engine(engine).clock(clock.clone()).open().expect("a store in memory");
    for step in steps {
        // Answers may be errors; what counts is that there is one, and that all is in order.
        let job = |number: u8| JobId::from(number.into());
        match step {
            Step::Create { prefix, start, end, priority, attempts } => {
                let mut new = NewJob::new(prefix, start..end).priority(priority);
                if let Some(attempts) = attempts {
                    new = new.max_attempts(attempts);
                }
                let _ = store.create_job(new);
            }
            Step::Lease { worker, micros } => {
                if let Ok(worker) = store.register_worker(NewWorker::new(&worker).kind("fuzz"))
                    && let Ok(leasing) = worker.request(Duration::from_micros(micros)).send()
                    && let Some(lease) = leasing.leased()
                {
                    lease.abandon();
                }
            }
            Step::Command { job: number, token, sequence, what } => {
                let (token, sequence) = (Token::from(token.into()), sequence.into());
                let action = action(what);
                let _ = store.submit(LeaseCommand { job: job(number), token, sequence, action });
            }
            Step::Advance { seconds } => clock.advance(Duration::from_secs(seconds.into())),
            Step::Cancel { job: number } => drop(store.cancel_job(job(number))),
            Step::Retry { job: number } => drop(store.retry_job(job(number))),
            Step::Delete { job: number } => drop(store.delete_job(job(number))),
            Step::Caps { history, daily, monthly } => {
                let _ = store.set_caps(milepost::CapsChange { history, daily, monthly });
            }
        }
    }
    store.snapshot().and_then(|view| view.verify()).expect("the store is in order");
});
