//! Threads that submit, close, reopen and acquire the store exclusively at once, and the results
//! that they got.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex as Plain;

use shuttle::thread::{self, JoinHandle};

use super::*;
use crate::time::Timestamp;
use crate::types::NewJob;
use crate::types::command::Answer;

/// The command to create a job of one position, which may be created once.
pub(super) fn create(position: u64) -> Stamped {
    let job = NewJob::new("a", position..position + 1);
    Stamped::new(Timestamp::EPOCH, Command::Create(vec![job]))
}

pub(super) struct Callers {
    pub(super) committer: Arc<Committer>,
    engine: Arc<Watched>,
    threads: RefCell<Vec<JoinHandle<()>>>,
    calls: Arc<Plain<Vec<Call>>>,
}

/// The position of each command of a call, and its result.
type Call = Vec<(u64, Result<Reply>)>;

/// What a completion does once it has noted the results.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Nothing,
    Panic,
    /// Submits a command for another position.
    Again,
}

impl Callers {
    pub(super) fn on(engine: Arc<Watched>) -> Callers {
        let committer = Committer::watched(&engine);
        Callers { committer, engine, threads: RefCell::default(), calls: Arc::default() }
    }

    fn spawn(&self, run: impl FnOnce(&Arc<Committer>, &Watched) + Send + 'static) {
        let (committer, engine) = (self.committer.clone(), self.engine.clone());
        self.threads.borrow_mut().push(thread::spawn(move || run(&committer, &engine)));
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
        let calls = self.calls.clone();
        self.spawn(move |committer, _| {
            let mut own = Vec::new();
            while let Some(wanted) = wanted(own.len() as u64) {
                let answers = match wanted[..] {
                    [only] => vec![committer.submit(create(only))],
                    _ => committer.submit_all(wanted.iter().copied().map(create).collect()),
                };
                assert_eq!(answers.len(), wanted.len(), "one answer to each");
                own.push(wanted.into_iter().zip(answers).collect());
            }
            calls.lock().unwrap().extend(own);
        });
    }

    /// Threads that each submit commands for two positions from this one on, with completions that
    /// nobody waits for.
    pub(super) fn complete_from(&self, threads: u64, position: u64, then: Then) {
        for n in 0..threads {
            let calls = self.calls.clone();
            self.spawn(move |committer, _| {
                for position in [position + 4 * n, position + 4 * n + 2] {
                    let calls = calls.clone();
                    if Noted::submit(committer, calls, position, then) == Entered::Leads {
                        committer.lead();
                    }
                }
            });
        }
    }

    /// A thread that submits a command which fails after its first write, next to one that does not.
    pub(super) fn fail_from(&self, position: u64) {
        let calls = self.calls.clone();
        self.spawn(move |committer, engine| {
            let mut answers = committer.submit_all(vec![engine.failing(), create(position)]);
            let created = answers.pop().unwrap();
            let failed = answers.pop().unwrap();
            assert!(
                match &failed {
                    Err(Error::Corrupted { what }) => what.contains("workers"),
                    // Whatever became of the commit, it became of both.
                    Err(_) => created.is_err(),
                    Ok(_) => false,
                },
                "{failed:?}"
            );
            calls.lock().unwrap().push(vec![(position, created)]);
        });
    }

    pub(super) fn exclusively_from(&self, threads: u64) {
        for _ in 0..threads {
            self.spawn(|committer, engine| {
                let held = committer.exclusively(|_| Ok(engine.alone(|| ())));
                assert!(matches!(held, Ok(()) | Err(Error::Closed)), "{held:?}");
            });
        }
    }

    pub(super) fn panic_exclusively(&self) {
        self.spawn(|committer, _| {
            let held: Result<()> = committer.exclusively(|_| panic!("as told"));
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
        for thread in self.threads.take() {
            thread.join().unwrap();
        }
        let state = self.committer.state.lock();
        assert!(!state.led && state.waiting.is_empty(), "nobody leads, but commands wait");
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        Outcomes { engine: self.engine.clone(), calls }
    }
}

/// A completion that notes the result of its command.
struct Noted {
    committer: Arc<Committer>,
    calls: Arc<Plain<Vec<Call>>>,
    position: u64,
    then: Then,
}

impl Noted {
    /// Submits the command for a position. If it is refused, that is noted.
    fn submit(
        committer: &Arc<Committer>,
        calls: Arc<Plain<Vec<Call>>>,
        position: u64,
        then: Then,
    ) -> Entered {
        let noted = Arc::new(Noted { committer: committer.clone(), calls, position, then });
        let commands = vec![create(position)];
        let entry = Entry { commands, completion: noted.clone(), thread: None };
        let entered = committer.state.lock().enter(entry);
        entered.unwrap_or_else(|refused| {
            noted.note(Err(refused));
            Entered::Waits
        })
    }

    fn note(&self, result: Result<Reply>) {
        self.calls.lock().unwrap().push(vec![(self.position, result)]);
    }
}

impl Complete for Noted {
    fn complete(&self, mut results: Results) {
        assert_eq!(results.len(), 1);
        self.note(results.remove(0));
        match self.then {
            Then::Nothing => {}
            Then::Panic => panic!("as told"),
            Then::Again => {
                let calls = self.calls.clone();
                // Whoever completes leads, and goes on to lead.
                Noted::submit(&self.committer, calls, self.position + 1, Then::Nothing);
            }
        }
    }
}

/// The results of each call.
pub(super) struct Outcomes {
    engine: Arc<Watched>,
    calls: Vec<Call>,
}

impl Outcomes {
    pub(super) fn all(&self) -> impl Iterator<Item = &Result<Reply>> {
        self.calls.iter().flatten().map(|(_, answer)| answer)
    }

    /// What was acknowledged is stored under the number that was returned, what was refused is
    /// not, and nothing else is.
    pub(super) fn agree_with_the_store(&self) {
        self.engine.assert_in_order();
        let stored: BTreeMap<u64, u64> = self.engine.jobs().into_iter().collect();
        let (mut acknowledged, mut uncertain) = (0, 0);
        for call in &self.calls {
            for group in call.chunks(GROUP) {
                let mut ids = Vec::new();
                for (position, answer) in group {
                    match answer {
                        Ok(Reply { answer: Answer::Jobs(answered), .. }) => {
                            acknowledged += 1;
                            ids.push(answered[0].get());
                            assert_eq!(stored.get(position), ids.last(), "{position}");
                        }
                        Ok(other) => panic!("another's answer: {other:?}"),
                        Err(Error::RangeOverlap { .. }) => assert!(stored.contains_key(position)),
                        Err(Error::Uncertain { .. }) => uncertain += 1,
                        Err(error) => assert_eq!(stored.get(position), None, "{position}: {error}"),
                    }
                }
                assert!(ids.is_sorted_by(|a, b| a + 1 == *b), "next to each other: {ids:?}");
            }
            let stored = call
                .iter()
                .filter_map(|(position, answer)| answer.is_ok().then(|| stored[position]));
            assert!(stored.is_sorted(), "in order");
        }
        let more = stored.len().checked_sub(acknowledged).expect("nobody is acknowledged twice");
        assert!(more <= uncertain, "what nobody asked for is stored");
    }
}
