//! Threads that submit, close, reopen and hold the store still at once, and what they were answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use shuttle::thread::{self, JoinHandle};

use super::*;
use crate::time::Timestamp;
use crate::types::NewJob;

/// The command to create a job of one position, which may be created once.
pub(super) fn create(position: u64) -> Stamped {
    let job = NewJob::new("a", position..position + 1);
    Stamped::new(Timestamp::EPOCH, Command::Create(vec![job]))
}

pub(super) struct Callers {
    pub(super) committer: Arc<Committer>,
    engine: Arc<Watched>,
    submitting: RefCell<Vec<JoinHandle<Outcomes>>>,
    others: RefCell<Vec<JoinHandle<()>>>,
}

impl Callers {
    pub(super) fn on(engine: Arc<Watched>) -> Callers {
        let committer = Committer::watched(&engine);
        Callers { committer, engine, submitting: RefCell::default(), others: RefCell::default() }
    }

    /// Threads that call a few times each, with one to three commands: for any of so many
    /// positions, or for positions nobody else asks for.
    pub(super) fn submit_from(&self, threads: u64, calls: u64, positions: Option<u64>) {
        for n in 0..threads {
            self.call(move |call| {
                let own = (n * calls + call) * 3;
                let wanted = (0..1 + roll(3)).map(|i| positions.map_or(own + i, roll)).collect();
                (call < calls).then_some(wanted)
            });
        }
    }

    /// One call with a command for each of these positions.
    pub(super) fn submit_at_once(&self, positions: Range<u64>) {
        self.call(move |call| (call == 0).then(|| positions.clone().collect()));
    }

    /// A thread that calls for as long as it is told what to submit.
    fn call(&self, wanted: impl Fn(u64) -> Option<Vec<u64>> + Send + 'static) {
        let (committer, engine) = (self.committer.clone(), self.engine.clone());
        self.submitting.borrow_mut().push(thread::spawn(move || {
            let mut outcomes = Outcomes { engine, calls: Vec::new() };
            while let Some(wanted) = wanted(outcomes.calls.len() as u64) {
                let answers = match wanted[..] {
                    [only] => vec![committer.submit(create(only))],
                    _ => committer.submit_all(wanted.iter().copied().map(create).collect()),
                };
                assert_eq!(answers.len(), wanted.len(), "one answer to each");
                outcomes.calls.push(wanted.into_iter().zip(answers).collect());
            }
            outcomes
        }));
    }

    fn spawn(&self, run: impl Fn(&Committer, &Watched) + Send + 'static) {
        let (committer, engine) = (self.committer.clone(), self.engine.clone());
        self.others.borrow_mut().push(thread::spawn(move || run(&committer, &engine)));
    }

    pub(super) fn while_still_from(&self, threads: u64) {
        for _ in 0..threads {
            self.spawn(|committer, engine| {
                let held = committer.while_still(|_| Ok(engine.alone(|| ())));
                assert!(matches!(held, Ok(()) | Err(Error::Closed)), "{held:?}");
            });
        }
    }

    pub(super) fn panic_while_still(&self) {
        self.spawn(|committer, _| {
            let held: Result<()> = committer.while_still(|_| panic!("as told"));
            assert!(matches!(held, Err(Error::Uncertain { .. })), "{held:?}");
        });
    }

    pub(super) fn reopen_from(&self, threads: u64) {
        for _ in 0..threads {
            self.spawn(|committer, _| {
                let reopened = committer.reopen();
                assert!(matches!(reopened, Ok(()) | Err(Error::Closed)), "{reopened:?}");
            });
        }
    }

    pub(super) fn close_from(&self, threads: u64) {
        for _ in 0..threads {
            self.spawn(|committer, engine| {
                // What it could not sync it says, and closes all the same.
                let closed = committer.close();
                assert!(matches!(closed, Ok(()) | Err(Error::Uncertain { .. })), "{closed:?}");
                assert!(engine.is_closed(), "it is not closed yet");
                assert!(matches!(committer.engine(), Err(Error::Closed)));
            });
        }
    }

    /// Waits for all of them to end.
    pub(super) fn join(&self) -> Outcomes {
        let mut outcomes = Outcomes { engine: self.engine.clone(), calls: Vec::new() };
        for thread in self.submitting.take() {
            outcomes.calls.extend(thread.join().unwrap().calls);
        }
        for thread in self.others.take() {
            thread.join().unwrap();
        }
        outcomes
    }
}

/// What was answered to each call: the position of each command, and its answer.
pub(super) struct Outcomes {
    engine: Arc<Watched>,
    calls: Vec<Vec<(u64, Result<Answer>)>>,
}

impl Outcomes {
    pub(super) fn all(&self) -> impl Iterator<Item = &Result<Answer>> {
        self.calls.iter().flatten().map(|(_, answer)| answer)
    }

    /// What was acknowledged is stored under the number that was answered, what was refused is
    /// not, and nothing else is.
    pub(super) fn agree_with_the_store(&self) {
        self.engine.assert_in_order();
        let stored: BTreeMap<u64, u64> = self.engine.jobs().into_iter().collect();
        let (mut acknowledged, mut uncertain) = (0, 0);
        for call in &self.calls {
            let mut ids = Vec::new();
            for (position, answer) in call {
                match answer {
                    Ok(Answer::Jobs(answered)) => {
                        acknowledged += 1;
                        ids.push(answered[0].number());
                        assert_eq!(stored.get(position), ids.last(), "{position}");
                    }
                    Ok(other) => panic!("another's answer: {other:?}"),
                    Err(Error::Overlap { .. }) => assert!(stored.contains_key(position)),
                    Err(Error::Uncertain { .. }) => uncertain += 1,
                    Err(error) => assert_eq!(stored.get(position), None, "{position}: {error}"),
                }
            }
            assert!(ids.is_sorted_by(|a, b| a + 1 == *b), "next to each other: {ids:?}");
        }
        let more = stored.len().checked_sub(acknowledged).expect("nobody is acknowledged twice");
        assert!(more <= uncertain, "what nobody asked for is stored");
    }
}
